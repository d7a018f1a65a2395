"""What each command does: one function each, from parsed options to an exit code."""

from bench.commands.files import fetch_command, init_command, score_command
from bench.commands.inspect import check_command, list_command, plan_command, status_command
from bench.commands.records import (
    compare_command,
    export_command,
    leaderboard_command,
    report_command,
    reproduce_command,
)
from bench.commands.train import run_command, tune_command

__all__ = [
    "check_command",
    "compare_command",
    "export_command",
    "fetch_command",
    "init_command",
    "leaderboard_command",
    "list_command",
    "plan_command",
    "report_command",
    "reproduce_command",
    "run_command",
    "score_command",
    "status_command",
    "tune_command",
]
