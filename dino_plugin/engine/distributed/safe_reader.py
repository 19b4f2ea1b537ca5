"""PyTorch's reader of distributed checkpoints, which runs no code from the files."""

import pickle
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

# What the description of a checkpoint consists of.
_ALLOWED = {
    'torch.distributed.checkpoint.metadata': {
        'Metadata', 'MetadataIndex', 'TensorStorageMetadata', 'BytesStorageMetadata', 'ChunkStorageMetadata',
        'TensorProperties', 'StorageMeta', '_MEM_FORMAT_ENCODING',
    },
    'torch.distributed.checkpoint.filesystem': {'_StorageInfo'},
    'torch.serialization': {'_get_layout'},
    'torch': {
        'Size', 'device', 'float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8',
        'uint8', 'bool',
    },
    'collections': {'OrderedDict'},
    'pathlib': {'Path', 'PosixPath', 'PurePosixPath'},
}  # fmt: skip


class SafeReader(FileSystemReader):
    """``FileSystemReader``, whose description may import nothing but PyTorch's records, and name files of its folder.

    Raises:
        ValueError: If the description needs something else, or is damaged.
    """

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The description."""
        folder = Path(self.path)
        try:
            with open(folder / '.metadata', 'rb') as file:
                metadata = _Description(file).load()
            wrong = [
                place.relative_path
                for place in metadata.storage_data.values()
                if (folder / place.relative_path).parent != folder or getattr(place, 'transform_descriptors', None)
            ]
        except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, KeyError, IndexError) as error:
            raise ValueError(f'The distributed checkpoint {folder} is refused or damaged: {error}.') from error
        if wrong:
            raise ValueError(f'The distributed checkpoint {folder} is refused: it names {wrong[0]}.')
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Description(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """PyTorch's records alone."""
        if name not in _ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f'it imports {module}.{name}, which no description needs')
        return super().find_class(module, name)
