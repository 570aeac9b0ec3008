"""A loss on the best and the worst explanation of each activation, as in DPO (arXiv:2305.18290), to first order."""

import torch


class BestAndWorst:
    """Raises the best and lowers the worst, both measured against the warm-started policy."""

    needs_reference = True

    def __init__(self, beta: float = 0.1):
        self.beta = beta

    def weights(self, reward_GN, record):
        one_G1 = torch.ones_like(reward_GN[:, :1])
        best_GN = torch.zeros_like(reward_GN).scatter(1, reward_GN.argmax(1, keepdim=True), one_G1)
        return best_GN.scatter_add(1, reward_GN.argmin(1, keepdim=True), -one_G1)

    def __call__(self, sampled):
        margin_B = ((sampled.logp_BT - sampled.reference_BT) * sampled.mask_BT).sum(1)
        return -self.beta * sampled.weight_B * margin_B
