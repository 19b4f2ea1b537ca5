"""What the doctor says: findings, the worst first."""

from collections.abc import Iterable
from typing import NamedTuple

LEVELS = ('fault', 'warning', 'notice', 'ok')


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        level: 'fault': it will not learn so. 'warning': probably not, or badly. 'notice': good to know. 'ok'.
        subject: What was looked at.
        found: What was measured, with numbers.
        remedy: What to do; empty if nothing is to be done.
    """

    level: str
    subject: str
    found: str
    remedy: str = ''


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Faults, warnings, notices, then what is well; each in its order."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def as_text(findings: Iterable[Finding]) -> str:
    """Two lines for what is to be done, one for the rest."""
    lines = []
    for level, subject, found, remedy in worst_first(findings):
        lines.append(f'{level:<8} {subject}: {found}')
        if remedy:
            lines.append(f'{"":<8} -> {remedy}')
    return '\n'.join(lines)


def as_markdown(findings: Iterable[Finding]) -> str:
    """A table."""
    rows = [f'| {level} | {subject} | {found} | {remedy} |' for level, subject, found, remedy in worst_first(findings)]
    return '\n'.join(['| | what | found | what to do |', '|---|---|---|---|', *rows])
