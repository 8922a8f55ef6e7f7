"""Byte strings that stay on disk: in memory is only where each of them ends, so data sets may be of any size."""

import os
from array import array

from ..machine.files import temporary_file


class Records:
    """Byte strings in a file, one after the other; each is read when it is asked for.

    Forked processes and threads may read at the same time.

    Parameters
    ----------
    file : binary file
        Open for reading; closed with the records.
    ends : sequence of int
        0, then for each record the position of the byte after its last.
    """

    def __init__(self, file, ends):
        self._file, self.ends = file, ends

    @classmethod
    def write(cls, file, records):
        """Append byte strings to an empty file that is open for reading, too.

        Raises
        ------
        OSError
            The disk is full.
        """
        ends = array("q", [0])
        for record in records:
            file.write(record)
            ends.append(ends[-1] + len(record))
        file.flush()
        return cls(file, ends)

    def __len__(self):
        return len(self.ends) - 1

    def __getitem__(self, index):
        index = range(len(self))[index]
        start, end = self.ends[index], self.ends[index + 1]
        record = os.pread(self._file.fileno(), end - start, start)
        if len(record) < end - start:
            raise OSError(f"the file that record {index} is in was cut while it was in use")
        return record

    def __del__(self):
        self._file.close()


def keep_on_disk(make_records):
    """Keep byte strings in a temporary file that nobody else sees, or in memory if that cannot be written.

    Parameters
    ----------
    make_records : callable
        Gives an iterable of bytes; called a second time if the disk is full.

    Returns
    -------
    Records or list of bytes
    """
    try:
        return Records.write(temporary_file(), make_records())
    except OSError:
        return list(make_records())
