"""Where the configs are: in a checkout beside the package, in an installed copy inside it (``dino_plugin/.mim``)."""

import contextlib
import difflib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
PACKAGED = PACKAGE / '.mim'
CHECKOUT = PACKAGE.parent


def config_root() -> Path:
    """The folder that holds ``_base_``, ``dino`` and the other groups of configs.

    Raises:
        FileNotFoundError: If this copy of the package came without configs.
    """
    root = (CHECKOUT if _is_checkout() else PACKAGED) / 'configs'
    if not root.is_dir():
        raise FileNotFoundError(f'This copy of dino_plugin came without its configs ({root}): install it again.')
    return root


def config_path(name: str) -> Path:
    """Path of a config that ships with dino_plugin, in a checkout and installed.

    Args:
        name: Path below ``configs/``, such as ``'dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py'``; a leading
            ``configs/`` may stay.

    Raises:
        FileNotFoundError: If there is no such config; similar names are listed.
    """
    root = config_root()
    relative = Path(name.removeprefix('configs/'))
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


def register_config_package() -> None:
    """Lets mmengine resolve ``_base_ = 'dino_plugin::dino/....py'``.

    mmengine keeps a fixed table of packages that it looks into, and looks for their configs in ``.mim`` only. A
    checkout has no such folder, so it gets one of links; where links cannot be made, paths still work.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE.setdefault('dino_plugin', 'dino_plugin')
    if _is_checkout() and not PACKAGED.exists():
        with contextlib.suppress(OSError):
            PACKAGED.mkdir(exist_ok=True)
            for name in ('configs', 'tools', 'model-index.yml'):
                (PACKAGED / name).symlink_to(Path('..', '..', name))


def _is_checkout() -> bool:
    return (CHECKOUT / 'setup.cfg').is_file()
