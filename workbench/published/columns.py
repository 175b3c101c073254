"""What every column of the published tables means: in the words of this file, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

RESULTS: Mapping[str, str] = {
    "dataset": "data set, a key such as cifar100 (names: workbench.published.names)",
    "task": "classification, or selfsup: a net trained without labels, then evaluated with them",
    "backbone": "net, a key such as resnet18 or deit_s",
    "setting": "family of recipes, e.g. cifar, pytorch, rsb-a3, deit; zoo: a model as its own authors trained it",
    "epochs": "length of the training; of the pre-training for selfsup; blank where not stated",
    "input_size": "side of the training images in pixels; blank where not stated",
    "method": "key of the mixup method, or of the self-supervised one; unspecified: the table names none",
    "variant": "what tells a row from others of the method: attentivemix+ (the benchmark's own AttentiveMix), a form "
    "of the pre-trained model, a layer that was probed",
    "alpha": "parameter of the Beta distribution of lambda as printed; two numbers: of Mixup, of CutMix",
    "metric": "top1, top5: accuracy in percent; params_m: parameters in millions; flops_g: operations in units of 1e9; "
    "train_hours: whole training in hours; memory_gb: GPU memory of the training in GB; throughput_img_s: images a "
    "second",
    "value": "the number, in the unit of the metric",
    "official": "True: the source marks it as taken from the method's or the model's own publication or code",
    "source": "page and section, as a path inside the repository Westlake-AI/openmixup",
    "group": "mixup_benchmark, model_zoo or selfsup: which part of the documentation it stands in",
    "eval_size": "side of the test images in pixels; blank where not stated",
    "batch_size": "images a step where the table states it; else see the recipe",
    "score_rule": "which epoch's accuracy counts: median_last10, median_last5, best_last10, mean_of_best_3trials, last",
    "preferred": "True: the number to quote where sources disagree; False: another source's number for the same row",
    "conflict": "True: sources give different numbers for this row; all of them are kept",
    "n_sources": "how many pages print the row with this number",
    "source_line": "line of the row on the page `source`",
    "other_sources": "the further pages that print the same number",
    "notes": "whatever else has to be known about the number",
}
"""Of data/published/results.csv."""

RECIPES: Mapping[str, str] = {
    "dataset": "as in the results",
    "backbone": "as in the results",
    "backbone_family": "kind of net: resnet, vit, ...",
    "setting": "as in the results",
    "epochs": "length of the training that the row describes",
    "task": "classification, selfsup or regression",
    "optimizer": "sgd, adamw, lamb or adam",
    "base_lr": "highest learning rate",
    "batch_size_total": "images a step, over all devices and accumulated steps",
    "weight_decay": "weight decay",
    "momentum": "momentum of sgd",
    "betas": "the two betas of Adam and its relatives",
    "scheduler": "course of the learning rate: cosine or step",
    "warmup_epochs": "epochs of warm-up",
    "min_lr": "learning rate at the end of the cosine",
    "train_size": "side of the training images in pixels",
    "test_resize": "shorter side in pixels to which a test image is scaled before it is cropped",
    "test_crop": "side in pixels of the centre crop of a test image",
    "eval_size": "side of the test images in pixels",
    "train_augment": "augmentation before mixing, in order",
    "test_transform": "what is done to test images, in order",
    "label_smoothing": "label smoothing; blank: none",
    "ema_momentum": "decay of the moving average of the weights; blank: none",
    "grad_clip_norm": "largest norm of the gradient; blank: not clipped",
    "drop_path_config": "rate of stochastic depth that the settings file asks for",
    "drop_path_effective": "rate of stochastic depth that the net really gets",
    "amp": "True: trained in mixed precision",
    "score_rule": "as in the results",
    "source_config": "settings file, as a path inside the repository",
    "has_published_numbers": "True: the results hold numbers for this recipe",
    "batch_per_device": "images a step on one device",
    "devices": "number of devices",
    "grad_accum": "steps whose gradients are added up",
    "no_decay_on": "parameters that get no weight decay",
    "eps": "epsilon of the optimiser",
    "nesterov": "True: Nesterov momentum",
    "layer_lr_decay": "factor of the learning rate from layer to layer",
    "scheduler_update": "epoch or iteration: how often the learning rate changes",
    "lr_steps": "epochs at which a step schedule falls",
    "warmup": "form of the warm-up",
    "warmup_ratio": "first learning rate, as a share of the highest",
    "config_epochs": "epochs that the settings file itself asks for",
    "norm_mean": "mean that is subtracted, of each channel in [0, 1]",
    "norm_std": "deviation that is divided by, of each channel in [0, 1]",
    "loss": "ce: cross-entropy; label_smooth_ce: with smoothed labels; bce: binary, a class at a time; l1_loss",
    "drop_last": "True: an incomplete last batch is left out",
    "init": "scratch, or the weights that training starts from",
    "notes": "whatever else has to be known about the recipe",
}
"""Of data/published/recipes.csv."""

HYPERPARAMETERS: Mapping[str, str] = {
    "dataset": "as in the results; (any): a default of the code",
    "backbone": "as in the results; (any): a default of the code",
    "setting": "as in the results; code-default: a default of the code",
    "epochs": "length of the training that the settings file is for; blank: any",
    "method": "as in the results; any: a template for all methods",
    "variant": "as in the results; decouple: with the loss of DecoupleMix",
    "alpha_doc": "alpha as the documentation prints it",
    "alpha_config": "alpha as the settings file has it; one number a method that is mixed",
    "mix_modes": "the methods that are drawn from",
    "mix_prob": "probability of each; uniform: all alike",
    "grid_size": "AttentiveMix: pixels of a patch",
    "top_k": "AttentiveMix: patches that are kept",
    "block_num": "PuzzleMix: how fine the grid of the mask may be, as a power of two",
    "beta": "PuzzleMix: weight of smooth masks; AttentiveMix: second parameter of the Beta distribution",
    "gamma": "PuzzleMix: weight of smooth pictures",
    "eta": "PuzzleMix: weight of the prior on lambda; SAMix and variant decouple: weight of the further loss",
    "layers": "ManifoldMix, AlignMix: first and last depth at which is mixed",
    "lam_margin": "learned methods: lambdas closer to 0 or 1 than this are mixed without the mask",
    "mask_layer": "learned methods: depth of the features that make the mask",
    "mask_loss_weight": "learned methods: weight of the loss on the mask's mean",
    "mask_loss_mode": "learned methods: form of that loss",
    "mask_loss_margin": "learned methods: deviation from lambda that costs nothing",
    "mask_adjust": "learned methods: probability that the mask is scaled so that its mean is lambda",
    "momentum": "learned methods: first momentum of the slow copy of the net",
    "end_momentum": "learned methods: its last momentum",
    "switch_off": "learned methods: probability, despite its name, that a step trains the mask's generator",
    "upsampling": "learned methods: how the mask is brought to the picture's size",
    "mix_samples": "AdAutoMix: pictures in a mix",
    "scope": "ResizeMix: smallest and largest scale of the partner",
    "decay_power": "FMix: fall of the mask's spectrum",
    "n_holes": "GridMix: fewest and most cells across",
    "params_json": "all parameters of the method in the settings file, as JSON",
    "loss": "as in the recipes",
    "weight_decay": "weight decay of the settings file",
    "weight_decay_special": "weight decay that the documentation asks for with this method, where it differs",
    "recipe_overrides": "fields of the recipe that this method changes, as field=value;field=value",
    "config_kind": "dedicated, generic_template, generated_example, doc_only or code_default: how sure the row is",
    "source_config": "settings file or page, as a path inside the repository",
    "notes": "whatever else has to be known about the row",
}
"""Of data/published/hyperparameters.csv."""

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "results": RESULTS, "recipes": RECIPES, "hyperparameters": HYPERPARAMETERS,
}  # fmt: skip
"""Table -> column -> meaning."""

WHOLE = {"epochs", "input_size", "eval_size", "batch_size", "n_sources", "source_line", "batch_size_total",
         "train_size", "test_resize", "test_crop", "batch_per_device", "devices", "grad_accum", "config_epochs",
         "mix_samples", "block_num"}  # fmt: skip
DECIMAL = {"value", "base_lr", "weight_decay", "min_lr", "warmup_epochs", "label_smoothing", "ema_momentum",
           "grad_clip_norm", "drop_path_config", "drop_path_effective", "weight_decay_special", "eps",
           "layer_lr_decay", "warmup_ratio"}  # fmt: skip
YES_NO = {"official", "preferred", "conflict", "has_published_numbers", "amp", "nesterov", "drop_last"}
"""Columns of whole numbers, of decimal ones, of True and False; all others are texts, blank where nothing is stated."""
