"""The data flow of a method as a picture, drawn from its config: ``{flow} dino/NAME.py``.

The picture is part of the page, so its colours are those of the page, light or dark.
"""

from html import escape

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROW, GAP = 44, 14  # height of a box for two lines, and the space between boxes
COLUMNS = dict(views=(4, 138), network=(196, 110), tokens=(364, 180), loss=(612, 144))  # left edge, width
WIDTH = 760
TOKENS = dict(
    DINOLoss='class token', IBOTPatchLoss='masked patches', KoLeoLoss='class token', GramLoss='patches',
    AlignmentLoss='class token', CodingRateLoss='class token', PatchAlignmentLoss='masked patches',
    KernelAlignmentLoss='patches', FeatureRegressionLoss='class token, patches',
    ClusteringLoss='patches', ClusterPredictionLoss='masked patches',
    ViewMeanLoss='class token', SIGRegLoss='class token',
)  # fmt: skip
FROZEN = dict(  # of losses with a frozen network: its name, and what it gives
    GramLoss=('anchor', 'patches', 'of an earlier teacher'),
    FeatureRegressionLoss=('frozen network', 'class token, patches', 'on one scale'),
)
COMPARING = (
    'AlignmentLoss',
    'CodingRateLoss',
    'PatchAlignmentLoss',
    'KernelAlignmentLoss',
)  # take the teacher's projections as they are


class Flow(SphinxDirective):
    """Views, networks, tokens and losses of a config, from left to right."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Sphinx calls it where the page has the directive."""
        from mmengine.config import Config

        from dino_plugin import config_path

        return [nodes.raw('', flow_of(Config.fromfile(config_path(self.arguments[0]))), format='html')]


def flow_of(cfg: dict) -> str:
    """The picture as SVG. Only the student learns by the losses; what the teacher gives is a target."""
    losses = [(loss['type'].split('.')[1], loss) for loss in cfg['model']['losses'].values()]
    targets = [(row, kind, loss) for row, (kind, loss) in enumerate(losses) if 'target' in loss or kind in COMPARING]
    anchored = [(row, kind) for row, (kind, _) in enumerate(losses) if kind in FROZEN]
    teacher, end = len(losses), len(losses) + max(1, len(targets))
    crop = next(step for step in cfg['train_dataloader']['dataset']['dataset']['pipeline'] if 'num_local' in step)
    masked = 'masked' in cfg['train_dataloader']['collate_fn']['type']

    parts = [
        box('views', 0, ['2 global views', f'{crop["global_size"]} px']),
        box('network', 0, ['student'], rows=teacher),
        box('network', teacher, ['teacher'], rows=max(1, len(targets))),
        arrow('views', 0, 'network', 0, 'masked' if masked else ''),
        moving_average(teacher),
    ]
    if crop['num_local']:
        parts.append(box('views', 1, [f'{crop["num_local"]} local views', f'{crop["local_size"]} px']))
        parts.append(arrow('views', 1, 'network', min(1, teacher - 1)))
    if targets:
        parts.append(arrow('views', 0, 'network', teacher))
    for row, (kind, loss) in enumerate(losses):
        tokens = [TOKENS[kind], *_head(loss)]
        parts += [box('tokens', row, tokens), box('loss', row, [kind], strong=True)]
        parts += [arrow('network', row, 'tokens', row), arrow('tokens', row, 'loss', row)]
    for number, (row, kind, loss) in enumerate(targets):
        place = teacher + number
        target = [loss['target']['type'].split('.')[1]] if 'target' in loss else []
        steps = ', '.join([*_head(loss), *target])
        parts += [
            box('tokens', place, [TOKENS[kind].replace('masked', 'the same'), steps]),
            arrow('network', place, 'tokens', place),
        ]
        parts.append(arrow('tokens', place, 'loss', row, dashed=True))
    for row, kind in anchored:
        name, *tokens = FROZEN[kind]
        parts += [box('network', end, [name]), box('tokens', end, tokens)]
        parts += [box('views', end, ['the global views', f'{crop["anchor_size"]} px'])] if 'anchor_size' in crop else []
        parts += [
            arrow('views', end if 'anchor_size' in crop else 0, 'network', end),
            arrow('network', end, 'tokens', end),
        ]
        parts.append(arrow('tokens', end, 'loss', row, dashed=True))
        end += 1
    height = top(end)
    return f'<figure class="flow"><svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg></figure>'


def _head(loss: dict) -> list[str]:
    return [f'head {loss["head"]}'] if 'head' in loss else []


def top(row: int) -> int:
    """Upper edge of the boxes in a row."""
    return 4 + row * (ROW + GAP)


def box(column: str, row: int, lines: list[str], rows: int = 1, strong: bool = False) -> str:
    """A box with one or two lines of text."""
    left, width = COLUMNS[column]
    height = rows * ROW + (rows - 1) * GAP
    first = top(row) + height / 2 + 5 - 8.5 * (len(lines) - 1)
    texts = ''.join(
        f'<text x="{left + width / 2}" y="{first + 17 * number}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    shape = f'<rect x="{left}" y="{top(row)}" width="{width}" height="{height}" rx="5"/>'
    return f'<g class="{"strong" if strong else "plain"}">{shape}{texts}</g>'


def arrow(start: str, row: int, end: str, to: int, label: str = '', dashed: bool = False) -> str:
    """A curve from the right edge of a box to the left edge of another; dashed where no gradient comes back."""
    x1, y1 = sum(COLUMNS[start]), top(row) + ROW / 2
    x2, y2 = COLUMNS[end][0] - 3, top(to) + ROW / 2
    y2 += 10 if dashed and row != to else 0
    bend = (x1 + x2) / 2
    head = f'<path class="head" d="M{x2 + 3} {y2} l-9 -4.5 v9 z"/>'
    text = f'<text class="label" x="{bend}" y="{y1 - 6}">{label}</text>' if label else ''
    kind = 'line dashed' if dashed else 'line'
    return f'<path class="{kind}" d="M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}"/>{head}{text}'


def moving_average(teacher: int) -> str:
    """The arrow from the student down to the teacher."""
    left, width = COLUMNS['network']
    x, y = left + width / 2, top(teacher)
    line = f'<path class="line" d="M{x} {y - GAP} V{y - 6}"/><path class="head" d="M{x} {y} l-4.5 -8 h9 z"/>'
    return f'{line}<text class="label" x="{x + 56}" y="{y - 3}">moving average</text>'


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it."""
    app.add_directive('flow', Flow)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
