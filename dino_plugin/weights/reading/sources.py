"""Where a checkpoint comes from: a file, a web address or a repository of the Hugging Face Hub."""

import contextlib
import hashlib
import http.client
import os
import re
import tempfile
import urllib.request
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit

import torch

HUB = 'hf-hub:'
_WEB = ('http://', 'https://')
# torch.hub's convention, which OpenMMLab and the authors of DINOv3 follow: the name ends with digits of the SHA-256.
_HASH = re.compile(r'-([0-9a-f]{8,64})\.\w+$')
_REPOSITORY = re.compile(rf'{HUB}([^/@]+/[^/@]+)(?:@([^/@]+))?(?:/([^@]+))?')
_TIMEOUT = 60  # seconds without a byte


def is_remote(source: str | Path) -> bool:
    """Whether a source is an address instead of a path."""
    return re.match(r'[A-Za-z][A-Za-z0-9+.-]*://|hf-hub:', str(source)) is not None


def is_downloadable(source: str | Path) -> bool:
    """Whether `local_file` downloads this source."""
    return str(source).startswith((*_WEB, HUB))


def local_file(source: str | Path) -> Path:
    """The checkpoint as a file on this machine; what is elsewhere is downloaded at first use.

    Args:
        source: One of

            - a path; `~` is expanded, and a folder of Hugging Face stands for its `model.safetensors`
            - `https://host/name.pth`: kept in `torch.hub.get_dir()`, with the description `name.json` if the host has
              one. Its length must be the announced one. If the name ends with a hash (`-1a2b3c4d.pth`), so must the
              file's SHA-256 begin.
            - `hf-hub:owner/name`, `hf-hub:owner/name@revision`, `hf-hub:owner/name/file.pth`: kept by
              `huggingface_hub`, whose settings (`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`) count

    Raises:
        OSError: If it cannot be downloaded, or is not the file that was announced.
    """
    if str(source).startswith(HUB):
        return _from_hub(str(source))
    if str(source).startswith(_WEB):
        return _from_web(str(source))
    path = Path(source).expanduser()
    weights = path / 'model.safetensors'
    return weights if weights.is_file() else path


def _from_web(url: str) -> Path:
    from filelock import FileLock
    from mmengine.logging import print_log

    # Other addresses may end with the same name.
    folder = Path(torch.hub.get_dir(), 'checkpoints', 'dino_plugin', hashlib.sha256(url.encode()).hexdigest()[:16])
    target = folder / (Path(unquote(urlsplit(url).path)).name or 'checkpoint')
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / '.lock'):  # the processes of a training ask for the same file
        if not target.is_file():
            parts = urlsplit(url)
            description = urlunsplit(parts._replace(path=str(Path(parts.path).with_suffix('.json'))))
            with contextlib.suppress(OSError):  # most hosts have none
                _download(description, target.with_suffix('.json'))
            print_log(f'Downloading {url} to {target}', logger='current')
            _download(url, target)
    return target


def _download(url: str, target: Path) -> None:
    """Downloads one file; nothing stands under its name until it is complete.

    Raises:
        OSError: See `local_file`.
    """
    from rich.console import Console
    from rich.progress import wrap_file

    handle, name = tempfile.mkstemp(dir=target.parent)
    digest, num_bytes = hashlib.sha256(), 0
    try:
        request = urllib.request.Request(url, headers={'User-Agent': 'dino_plugin'})
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response, os.fdopen(handle, 'wb') as file:
            announced = response.length  # None if the host does not say it
            console = Console(stderr=True)
            show = dict(description=target.name, console=console, transient=True, disable=not console.is_terminal)
            with wrap_file(response, total=announced or 0, **show) as shown:
                while chunk := shown.read(1 << 20):
                    num_bytes += file.write(chunk)
                    digest.update(chunk)
        if announced is not None and num_bytes != announced:
            raise OSError(f'the connection ended after {num_bytes} of {announced} bytes')
        if target.suffix != '.json':  # named like the weights
            _compare_with_name(target.name, digest.hexdigest())
        os.replace(name, target)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = f'HTTP status {error.code}, {error.reason}' if isinstance(error, HTTPError) else error
        raise OSError(f'{url} cannot be downloaded: {reason}. Check the address and the network.') from error
    finally:
        Path(name).unlink(missing_ok=True)


def _compare_with_name(name: str, found: str) -> None:
    """Compares the SHA-256 with the one in the name. Digits only may as well be a date."""
    stated = _HASH.search(name)
    if stated and not stated[1].isdigit() and not found.startswith(stated[1]):
        raise OSError(f'its SHA-256 begins with {found[: len(stated[1])]}, while its name says {stated[1]}')


def _from_hub(source: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    cure = 'Repositories behind a licence, such as those of DINOv3, need a token: `hf auth login`.'
    parts = _REPOSITORY.fullmatch(source)
    if parts is None:
        raise OSError(f'{source} is no repository of the Hugging Face Hub; write {HUB}owner/name[@revision][/file].')
    repository, revision, file = parts.groups()

    def file_of_hub(*names: str) -> Path:
        try:
            return Path(hf_hub_download(repository, names[0], revision=revision))
        except EntryNotFoundError:
            if len(names) == 1:
                raise
            return file_of_hub(*names[1:])

    try:
        if file:
            return file_of_hub(file)
        with contextlib.suppress(EntryNotFoundError):
            file_of_hub('config.json')  # beside the weights, for the description
        return file_of_hub('model.safetensors', 'pytorch_model.bin')
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: of its network client
        raise OSError(f'{source} cannot be fetched: {str(error).strip()}. {cure}') from error
