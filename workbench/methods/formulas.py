"""What each method computes, as formulas in matplotlib's mathtext.

x_A, y_A: a row of the batch and its label; x_B, y_B: its partner's; lambda: the weight of the row itself; M: where the
row itself shows; H, W, N: height, width and number of pixels (or cells, or tokens); F, h: features; z: logits; S:
saliency; f: the net.
Sources: the papers that each method's `paper` names; where we differ from their code, the method's docstring says.
"""

from __future__ import annotations

from collections.abc import Mapping

PASTE = r"$\tilde{x} = M \odot x_A + (1 - M) \odot x_B,\quad \tilde{y} = \lambda y_A + (1 - \lambda) y_B$"
BETA = r"$\lambda \sim \mathrm{Beta}(\alpha, \alpha)$"
REALISED = r"$\lambda = \overline{M}$, its mean"

FORMULAS: Mapping[str, tuple[str, ...]] = {
    "vanilla": (r"$\tilde{x} = x_A,\quad \tilde{y} = y_A$",),
    "mixup": (
        r"$\tilde{x} = \lambda x_A + (1 - \lambda) x_B,\quad \tilde{y} = \lambda y_A + (1 - \lambda) y_B$",
        BETA,
    ),
    "cutmix": (
        PASTE,
        r"$M = 0$ in a box of $\sqrt{1 - \lambda_0}\,W \times \sqrt{1 - \lambda_0}\,H$,  "
        r"$\lambda_0 \sim \mathrm{Beta}(\alpha, \alpha)$",
        REALISED,
    ),
    "deit": (
        r"CutMix with probability $p$, else Mixup; $\tilde{y}$ smoothed by $\epsilon$",
        r"$\lambda \sim \mathrm{Beta}(\alpha_\mathrm{cut}, \alpha_\mathrm{cut})$  or  "
        r"$\mathrm{Beta}(\alpha_\mathrm{mix}, \alpha_\mathrm{mix})$",
    ),
    "smoothmix": (
        PASTE,
        r"$M_{ij} = \exp\left(-\frac{(i - c_y)^2 + (j - c_x)^2}{2 \sigma^2}\right)$,  "
        r"$\sigma \sim \mathrm{U}(\sigma_\mathrm{min}, \sigma_\mathrm{max})$",
        REALISED,
    ),
    "gridmix": (
        PASTE,
        r"$M = 0$ in a corner of each cell, $\sqrt{1 - \lambda_0}$ of its side,  "
        r"$\lambda_0 \sim \mathrm{Beta}(\alpha, \alpha)$",
        REALISED,
    ),
    "resizemix": (
        r"$\tilde{x} = x_A$ with $\mathrm{resize}(x_B, \tau)$ pasted in,  "
        r"$\tau \sim \mathrm{U}(\tau_\mathrm{min}, \tau_\mathrm{max})$",
        r"$\tilde{y} = \lambda y_A + (1 - \lambda) y_B,\quad \lambda = 1 - \tau^2$ (as realised)",
    ),
    "fmix": (
        PASTE,
        r"$M = 1$ on the share $\lambda_0$ of pixels where $\mathrm{Re}\,\mathcal{F}^{-1}(z / f^{\,\delta})$ "
        r"is highest",
        r"$\lambda_0 \sim \mathrm{Beta}(\alpha, \alpha),\quad$" + REALISED,
    ),
    "manifoldmix": (
        r"$\tilde{h}_k = \lambda h_k(x_A) + (1 - \lambda) h_k(x_B),\quad "
        r"\tilde{y} = \lambda y_A + (1 - \lambda) y_B$",
        r"depth $k$ drawn for each batch,  " + BETA,
    ),
    "saliencymix": (
        PASTE,
        r"$M = 0$ in a box of share $1 - \lambda_0$ around $\mathrm{arg\,max}\ S(x_B)$,  "
        r"$\lambda_0 \sim \mathrm{Beta}(\alpha, \alpha)$",
        REALISED,
    ),
    "attentivemix": (
        PASTE,
        r"$M = 1$ on the $k = \lfloor N \lambda_0 \rfloor$ cells of $x_A$ with the highest mean of features",
        r"$\lambda_0 \sim \mathrm{Beta}(\alpha, \beta),\quad$" + REALISED,
    ),
    "puzzlemix": (
        r"$\tilde{x} = M \odot \Pi_A x_A + (1 - M) \odot \Pi_B x_B,\quad "
        r"\tilde{y} = \lambda y_A + (1 - \lambda) y_B$",
        r"$M$ minimises $\Sigma_i [(1 - M_i) S_{A,i} + M_i S_{B,i}]$ + borders ($\beta$) + prior ($\lambda_0$)",
        r"$\lambda_0 \sim \mathrm{Beta}(\alpha, \alpha),\quad$" + REALISED,
    ),
    "comixup": (
        r"$\tilde{x}_j = \Sigma_k M_{jk} \odot x_k,\quad \tilde{y}_j = \Sigma_k \overline{M}_{jk}\, y_k$",
        r"all $M$ of a group together minimise $-\Sigma_{jk} \langle M_{jk}, S_k \rangle$",
        r"+ borders ($\beta$) + repeated use ($\gamma$) + prior ($\eta$)",
    ),
    "alignmix": (
        r"$\tilde{F} = \lambda F_A + (1 - \lambda) R F_B$  or  $\lambda R^\mathsf{T} F_A + (1 - \lambda) F_B$",
        r"$\tilde{y} = \lambda y_A + (1 - \lambda) y_B,\quad$" + BETA,
        r"$R / r$: the plan of entropic transport for $\|a_i - b_j\|^2$; half of the batches are Mixup",
    ),
    "automix": (
        PASTE,
        r"$M = \mathcal{M}_\phi(h(x_A), h(x_B), \lambda)$,  " + BETA,
        r"$\min_\phi\ \mathrm{CE}(\bar{f}(\tilde{x}), \tilde{y}) + w\,\max(0, |\overline{M} - \lambda| - m)$,  "
        r"$\bar{f}$: slow copy of the net",
    ),
    "samix": (
        PASTE,
        r"$M = \mathcal{M}_\phi(h(x_A), h(x_B), \lambda)$,  " + BETA,
        r"$\min_\phi\ \ell_\mathrm{pair} + \eta\,\ell_\mathrm{global} + "
        r"w\,[\max(0, |\overline{M} - \lambda| - m) - 2\,\mathrm{var}(M)]$",
    ),
    "adautomix": (
        r"$\tilde{x} = \Sigma_k M_k \odot x_k,\quad \tilde{y} = \Sigma_k \lambda_k y_k,\quad "
        r"M = \mathrm{softmax}_k\,\mathcal{M}_\phi$",
        r"by turns: $\min_\phi -\beta\,\mathrm{CE}(\bar{f}(\tilde{x}), \tilde{y}) \pm (1 - \beta)\,C$  and  "
        r"$\min_\phi\,\mathrm{CE}(\bar{f}(\tilde{x}), \tilde{y})$",
    ),
    "transmix": (
        PASTE,
        r"$\lambda = \frac{1}{2}\left(\frac{1}{N} \Sigma_i M_i + \Sigma_i a_i M_i\right)$,  "
        r"$a$: attention of the class token, $\Sigma_i a_i = 1$",
    ),
    "smmix": (
        r"$\tilde{x} = x_A$ with its least attended square of $r \times r$ patches replaced",
        r"by the most attended square of $x_B$",
        r"$\tilde{y} = \lambda y_A + (1 - \lambda) y_B,\quad \lambda = 1 - r^2 / N$",
        r"$\ell = \mathrm{CE} + \frac{1}{2} \ell_\mathrm{tokens} + "
        r"\mathrm{KL}(\sigma(\lambda z_A + (1 - \lambda) z_B)\,\|\,\sigma(z))$",
    ),
    "decouplemix": (
        r"$\ell = \mathrm{CE}(z, \tilde{y}) + \eta R$",
        r"$R = -\log \sigma_{-b}(z)_a - \log \sigma_{-a}(z)_b$,  "
        r"$\sigma_{-b}$: softmax without class $b$",
    ),
}
"""Lines by the method's key."""


def formula(key: str) -> tuple[str, ...]:
    """The lines of a method's formula; none for a method of a user's own."""
    return FORMULAS.get(key, ())
