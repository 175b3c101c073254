"""The commands of `workbench`, in the order of `workbench --help`: each a few calls into the package.

Imports stay inside the commands, so that `--help` and mistakes answer without waiting for torch.
"""
