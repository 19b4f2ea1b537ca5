"""Nested (Matryoshka) heads: the losses of a config once more on the first part of the features."""

from collections.abc import Mapping, Sequence


def with_nested_heads(
    heads: Mapping[str, dict], losses: Mapping[str, dict], shares: Sequence[float]
) -> tuple[dict[str, dict], dict[str, dict]]:
    """Configs of heads and losses, with a copy of each head and of each loss that names one, for each share.

    The copy of the head ``cls`` for a half is ``cls_50``. It reads the first half of a token's features and has half
    as many prototypes; the loss ``dino_50`` goes through it. Weights are those of the loss that is copied.

    Args:
        heads: Configs of `DINOHead` by name.
        losses: By name.
        shares: Of the features, each in (0, 1), beside all of them.

    Raises:
        ValueError: If a head of the config has no number of prototypes, of which a share could be taken.

    References:
        Venkataramanan et al. 2025 (Franca), arXiv:2507.14137.
    """
    if shares and (without := [name for name, head in heads.items() if not head.get('prototypes')]):
        raise ValueError(f'nested_shares={tuple(shares)}: the heads {without} name no prototypes; write prototypes=N.')
    all_heads, all_losses = dict(heads), dict(losses)
    for share in shares:
        part = f'_{round(100 * share)}'
        for name, head in heads.items():
            all_heads[name + part] = {**head, 'share': share, 'prototypes': int(share * head['prototypes'])}
        for name, loss in losses.items():
            if 'head' in loss:
                all_losses[name + part] = {**loss, 'head': loss['head'] + part}
    return all_heads, all_losses
