"""A terminal for tests: a pseudo-terminal, and the lines that a person would see on it."""

import fcntl
import os
import re
import struct
import termios
import threading

_PARTS = re.compile(r'\x1b\[(?P<number>[0-9;?]*)(?P<code>[A-Za-z])|(?P<character>.)', re.DOTALL)


class TerminalScreen:
    """Opens a pseudo-terminal; `file` is its end for a program, `lines()` what it shows.

    Args:
        columns: Its width.
    """

    def __init__(self, columns: int = 100) -> None:
        self.columns = columns
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
        self.file = os.fdopen(slave, 'w')
        self._bytes = b''
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                new = os.read(self._master, 4096)
            except OSError:  # all programs have closed the other end
                return
            if not new:
                return
            self._bytes += new

    def written(self) -> str:
        """All that was written, with control codes; ends it."""
        self.close()
        return self._bytes.decode(errors='replace')

    def close(self) -> None:
        """End; nothing may write any more. All that was written has then been read."""
        if not self.file.closed:
            self.file.close()
            self._reader.join(60)
            os.close(self._master)

    def lines(self) -> list[str]:
        """What a person would see at the end."""
        return screen(self.written(), self.columns)

    def bars(self) -> list[str]:
        """Each line with a bar that was ever drawn."""
        plain = without_codes(self.written()).replace('\n', '\r')
        return [line.strip() for line in plain.split('\r') if set(line) & set('━╸╺')]


def without_codes(text: str) -> str:
    """Only what is printed."""
    return ''.join(part['character'] or '' for part in _PARTS.finditer(text))


def screen(text: str, columns: int) -> list[str]:
    """The lines that a terminal of any height shows after this text; blanks and empty lines at the end are removed."""
    lines: list[list[str]] = [[]]
    row = column = 0
    for part in _PARTS.finditer(text):
        number, code, character = part['number'], part['code'], part['character']
        if character == '\r':
            column = 0
        elif character == '\n':
            row += 1
        elif character is not None:
            if column == columns:
                row, column = row + 1, 0
            while len(lines) <= row:
                lines.append([])
            lines[row] += [' '] * (column + 1 - len(lines[row]))
            lines[row][column] = character
            column += 1
        elif code == 'A':
            row -= int(number or 1)
        elif code == 'K' and number == '2' and row < len(lines):
            lines[row] = []
        elif code not in 'mhlK':
            raise ValueError(f'unknown control code {part.group()!r}')
        while len(lines) <= row:
            lines.append([])
    return '\n'.join(''.join(line).rstrip() for line in lines).rstrip('\n').split('\n')
