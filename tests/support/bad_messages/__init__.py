"""Bad input and the exact message that it gets, as one table: one file a subject."""

from tests.support.bad_messages.flags import FLAGS
from tests.support.bad_messages.names import NAMES
from tests.support.bad_messages.numbers import NUMBERS
from tests.support.bad_messages.structure import STRUCTURE
from tests.support.bad_messages.task_files import TASK_FILES
from tests.support.bad_messages.yaml_tricks import YAML_TRICKS

CASES = [*NUMBERS, *NAMES, *STRUCTURE, *YAML_TRICKS, *TASK_FILES, *FLAGS]
