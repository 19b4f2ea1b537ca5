"""The settings of a run from its config, which is parsed and never run."""

import ast
from collections.abc import Iterator, Sequence

NOT_COMPARED = ('work_dir',)  # differs always and tells nothing


def read_settings(text: str) -> dict[str, str]:
    """Settings by their names for ``--cfg-options`` (``train_cfg.max_epochs``), from a config that mmengine dumped.

    Values are Python as written. A text that is no Python has no settings.
    """
    try:
        statements = ast.parse(text).body
        pairs = [
            pair
            for statement in statements
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
            for pair in _flat(statement.targets[0].id, statement.value)
        ]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return dict(pairs)


def differences(settings: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs, with the value of each run; empty where a run has none.

    Of a part that some run lacks as a whole, such as a hook, only its type is told, unless the others differ in it.
    """
    names = dict.fromkeys(name for one in settings for name in one if name not in NOT_COMPARED)
    rows = {name: [one.get(name, '') for one in settings] for name in names}
    rows = {name: values for name, values in rows.items() if len(set(values)) > 1}
    parts = [{part for name in one for part in _above(name)} for one in settings]
    return {name: values for name, values in rows.items() if not _told_by_a_type(name, values, rows, parts)}


def _above(name: str) -> list[str]:
    """The parts that a setting is in, the largest first: a.b.c is in a and a.b."""
    words = name.split('.')
    return ['.'.join(words[:length]) for length in range(1, len(words))]


def _told_by_a_type(name: str, values: list[str], rows: dict[str, list[str]], parts: list[set[str]]) -> bool:
    lacking = (part for part in _above(name) if any(part not in one for one in parts))
    kind = next((f'{part}.type' for part in lacking if f'{part}.type' in rows), name)
    return name != kind and len(set(values) - {''}) == 1


def _flat(name: str, node: ast.expr) -> Iterator[tuple[str, str]]:
    parts = _parts(node)
    if not parts:
        yield name, ast.unparse(node)
    for key, value in parts.items():
        yield from _flat(f'{name}.{key}', value)


def _parts(node: ast.expr) -> dict[str, ast.expr]:
    """The entries of a dict, or of a list that holds dicts."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        return {str(keyword.arg): keyword.value for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {ast.unparse(key).strip('\'"'): value for key, value in zip(node.keys, node.values) if key is not None}
    if isinstance(node, ast.List | ast.Tuple) and any(map(_parts, node.elts)):
        return {str(index): value for index, value in enumerate(node.elts)}
    return {}
