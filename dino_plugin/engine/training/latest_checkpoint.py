"""The newest whole checkpoint of a folder: what `--resume` without a path goes on from."""

import os
import re
import time
import zipfile
from pathlib import Path

from dino_plugin.weights.reading.sharded import REST, is_sharded
from dino_plugin.weights.safe_loading import load_checkpoint

POINTER = 'last_checkpoint'
_NAMES = r'(epoch|iter|stopped_iter)_\d+\.pth'
_NEEDED = ('meta', 'state_dict', 'message_hub')  # by mmengine's resume
# In PyTorch's files, in plain text: mmengine's meta['time'].
_TIME = re.compile(rb'X\x04\0\0\0time(?:q.|r....)X\x0f\0\0\0(\d{8}_\d{6})', re.DOTALL)


def latest_checkpoint(
    work_dir: str | Path, folder: str | Path, template: str = 'iter_{}.pth'
) -> tuple[Path | None, str]:
    """The file that ``last_checkpoint`` names if it is whole, otherwise the newest whole file.

    Only files of this folder count, so that a copied folder goes on from its own files. Newest means saved last, by the
    time in the file, which copies keep.

    Args:
        work_dir: The folder of ``last_checkpoint``.
        folder: The folder of the checkpoints, usually the same.
        template: mmengine's ``filename_tmpl``; names that mmengine chooses itself count in any case.

    Returns:
        The file, None if nothing was saved yet, and a sentence that says why this one.

    Raises:
        ValueError: If there are checkpoints, or the name of one, and no file is whole.
    """
    folder = Path(folder)
    named, reason = _pointer(Path(work_dir) / POINTER)
    own = folder / os.path.basename(named)
    others = sorted(set(checkpoints_in(folder, template)) - {own}, key=_saved, reverse=True)
    reasons = [reason] if reason else []
    if named and not _is_checkpoint(own):
        reasons.append(f'{POINTER} names {named}, which is not in {folder}')
    elif os.path.dirname(named) and Path(named).parent.resolve() != folder.resolve():
        reasons.append(f'{POINTER} names {named}, in another folder')
    for path in [own, *others] if _is_checkpoint(own) else others:
        damage = _damage(path)
        if not damage:
            return path, '; '.join(reasons) or f'{POINTER} names it'
        reasons.append(damage)
    if not named and not others:
        return None, f'{folder} has no checkpoint'
    raise ValueError(
        f'--resume finds no whole checkpoint in {folder}: {"; ".join(reasons)}. Name a file: --resume PATH. To start '
        f'at iteration 0, delete {POINTER} and these files, or choose another folder: --work-dir DIR.'
    )


def has_begun(work_dir: str | Path) -> bool:
    """Whether a training saved something here, or somewhere that `last_checkpoint` names."""
    return os.path.lexists(Path(work_dir) / POINTER) or bool(checkpoints_in(work_dir))


def checkpoints_in(folder: str | Path, template: str = 'iter_{}.pth') -> list[Path]:
    """The training checkpoints of a folder, in the order of their names."""
    own_name = re.escape(template).replace(r'\{\}', r'\d+')
    names = re.compile(f'{_NAMES}|{own_name}')
    return [path for path in sorted(Path(folder).glob('*')) if names.fullmatch(path.name) and _is_checkpoint(path)]


def _is_checkpoint(path: Path) -> bool:
    return path.is_file() or is_sharded(path)


def _pointer(path: Path) -> tuple[str, str]:
    """What the file names, and what is wrong with it otherwise."""
    try:
        named = path.read_text(errors='replace').strip('\0 \t\r\n')
    except FileNotFoundError:
        return '', f'{POINTER} is missing'
    except OSError as error:
        return '', f'{POINTER} cannot be read ({error.strerror})'
    if not named:
        return '', f'{POINTER} is empty'
    possible = named.isprintable() and len(os.path.basename(named).encode()) < 256
    return (named, '') if possible else ('', f'{POINTER} names no file')


def _saved(path: Path) -> tuple[str, int]:
    """When it was saved: by mmengine's time in the file, else by the file's own; in the same second by its number."""
    file_with_time = path / REST if path.is_dir() else path
    try:
        with zipfile.ZipFile(file_with_time) as archive:
            name = next(name for name in archive.namelist() if name.endswith('/data.pkl'))
            with archive.open(name) as file:
                found = _TIME.search(file.read(1 << 20))
    except (zipfile.BadZipFile, OSError, StopIteration):
        found = None
    written = time.strftime('%Y%m%d_%H%M%S', time.localtime(path.stat().st_mtime))
    return found.group(1).decode() if found else written, int(re.findall(r'\d+', path.name)[-1])


def _damage(path: Path) -> str:
    """Why no training can go on from this file; empty for a whole one."""
    try:
        checkpoint = load_checkpoint(path / REST if path.is_dir() else path)
    except (ValueError, OSError) as error:
        return str(error).rstrip('.')
    needed = _NEEDED if path.is_file() else [key for key in _NEEDED if key != 'state_dict']  # it is in the folder
    missing = [key for key in needed if key not in checkpoint]
    return f'{path} is no training checkpoint: it has no {", ".join(missing)}' if missing else ''
