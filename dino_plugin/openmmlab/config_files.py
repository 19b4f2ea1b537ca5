"""Where the configs are: beside the package in a checkout, inside it (``dino_plugin/.mim``) if installed."""

import contextlib
import difflib
from pathlib import Path
from types import ModuleType

from dino_plugin.openmmlab.import_hooks import after_import
from dino_plugin.openmmlab.providers import installed_version

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGED = PACKAGE / '.mim'
CHECKOUT = PACKAGE.parent
PREFIX = 'dino_plugin::'


def config_root() -> Path:
    """The folder with ``_base_``, ``dino`` and the other groups of configs.

    Raises:
        FileNotFoundError: If this copy of the package has no configs.
    """
    root = (CHECKOUT if _is_checkout() else PACKAGED) / 'configs'
    if not root.is_dir():
        raise FileNotFoundError(f'This copy of dino_plugin has no configs ({root}): install it again.')
    return root


def config_path(name: str) -> Path:
    """Path of a config that ships with dino_plugin.

    Args:
        name: Path below ``configs/``, such as ``'dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py'``; it may
            begin with ``configs/`` or ``dino_plugin::``.

    Raises:
        FileNotFoundError: If there is no such config; similar names are listed.
    """
    root = config_root()
    relative = Path(name.removeprefix(PREFIX).removeprefix('configs/'))
    path = root / relative
    if path.is_file():
        return path
    known = [file.relative_to(root).as_posix() for file in sorted(root.rglob('*.py'))]
    similar = difflib.get_close_matches(relative.as_posix(), known, n=3, cutoff=0.3)
    raise FileNotFoundError(f'No config {name!r} in {root}. Similar: {", ".join(similar) or "none"}.')


def find_config(name: str) -> Path:
    """``name`` itself if it is a file, otherwise the config of that name that ships with dino_plugin.

    Raises:
        FileNotFoundError: If neither exists.
    """
    path = Path(name)
    return path if path.is_file() else config_path(name)


def serve_configs() -> None:
    """Lets any config inherit from a shipped one, ``_base_ = 'dino_plugin::dino/....py'``, once mmengine is imported.

    mmengine knows a fixed table of packages only, and adds ``_scope_`` to their configs. Ours need no scope: names have
    the prefix ``dino_plugin.``, or belong to the default scope that the config sets.

    A copy of a shipped config also finds the configs that it inherits from. And prefixes such as ``mmseg::`` find the
    onedl packages, which are not in mmengine's table.
    """
    after_import('mmengine.config.utils', _complete_package_table)
    after_import('mmengine.config.config', _resolve_shipped_configs)


def _complete_package_table(utils: ModuleType) -> None:
    table = utils.MODULE2PACKAGE
    for module, package in table.items():
        if not installed_version(package) and installed_version(f'onedl-{package}'):
            table[module] = f'onedl-{package}'
    table['dino_plugin'] = 'dino_plugin'  # for mmengine.hub
    if _is_checkout() and not PACKAGED.exists():  # only mmengine.hub needs these links
        with contextlib.suppress(OSError):
            PACKAGED.mkdir(exist_ok=True)
            for name in ('configs', 'tools', 'model-index.yml'):
                (PACKAGED / name).symlink_to(Path('..', '..', name))


def _resolve_shipped_configs(config: ModuleType) -> None:
    by_mmengine = config.Config._get_cfg_path

    def get_cfg_path(name: str | Path, filename: str) -> tuple[str, str | None]:
        name = str(name)
        if name.startswith(PREFIX):
            return str(config_path(name)), None
        path, scope = by_mmengine(name, filename)
        if scope is None and not Path(path).is_file():
            path = _shipped_beside(name) or path
        return path, scope

    config.Config._get_cfg_path = staticmethod(get_cfg_path)


def _shipped_beside(name: str) -> str | None:
    """The shipped config with this relative name, for a copy that inherits from it; None if there is none."""
    parts = [part for part in Path(name).parts if part not in ('.', '..')]
    found = sorted(config_root().rglob('/'.join(parts))) if parts and not Path(name).is_absolute() else []
    return str(found[0]) if len(found) == 1 else None


def _is_checkout() -> bool:
    return (CHECKOUT / 'setup.cfg').is_file()
