"""An array that several processes write together."""

import threading

import numpy as np

from dino_plugin.evaluation.features import rows_on_disk


def test_two_ranks_write_one_array_which_has_its_name_only_when_it_is_whole(tmp_path, monkeypatch):
    """Threads stand for processes."""
    ranks, meeting = threading.local(), threading.Barrier(2)
    monkeypatch.setattr(rows_on_disk, 'get_rank', lambda: ranks.number)
    monkeypatch.setattr(rows_on_disk, 'barrier', meeting.wait)
    path, rows = tmp_path / 'folder/rows.npy', np.arange(15, dtype=np.float16).reshape(5, 3)

    def part(number: int):
        for row in range(number, 5, 2):
            assert not path.exists()
            yield row, rows[row]

    def run(number: int) -> None:
        ranks.number = number
        rows_on_disk.write_rows(path, rows.shape, part(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert np.array_equal(np.load(path, mmap_mode='r'), rows)
    assert [file.name for file in path.parent.iterdir()] == ['rows.npy']
