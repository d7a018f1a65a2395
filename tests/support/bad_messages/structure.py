"""Suites of another structure."""

from tests.support.bad_case import Bad, budget, entry, method, text
from tests.support.bad_inputs import suite

STRUCTURE = [
    Bad(
        "list for a suite",
        text("[a, b]"),
        "{suite}: expected a mapping of fields, got ['a', 'b']",
    ),
    Bad(
        "word for a suite",
        text("suite"),
        "{suite}: expected a mapping of fields, got 'suite'",
    ),
    Bad(
        "no methods",
        suite(methods=[]),
        "{suite}: field 'methods': Tuple should have at least 1 item after validation, not "
        "0; got []",
    ),
    Bad(
        "methods in words",
        suite(methods="lora"),
        "{suite}: field 'methods': should be a list; got 'lora'",
    ),
    Bad(
        "a method twice",
        suite(methods=["lora", "lora"]),
        "{suite}: give each entry of a method its own 'variant': ['lora/default']",
    ),
    Bad(
        "a task twice",
        suite(tasks=["animals", "animals"]),
        "{suite}: a task may appear in a suite once, got ['animals'] more than once",
    ),
    Bad(
        "unknown field of a task entry",
        entry(seed=3),
        "{suite}: unknown field 'tasks.0.seed'; allowed: also_test, backbones, budget, definition, "
        "head, methods, settings, start, task, training",
    ),
    Bad(
        "unknown field of a budget",
        budget(epoch=3),
        "{suite}: unknown field 'budget.epoch'; allowed: batch_size, choosing_members, epochs, "
        "evaluations, steps, train_size (did you mean 'epochs'?)",
    ),
    Bad(
        "unknown budget of a task",
        entry(budget={"epoch": 3}),
        "suite 'small': task 'animals': budget: unknown field 'epoch'; allowed: batch_size,"
        " choosing_members, epochs, evaluations, steps, train_size (did you mean 'epochs'?)",
    ),
    Bad(
        "unknown training of a task",
        entry(training={"rate": 3}),
        "suite 'small': method 'majority' on task 'animals': training: unknown field "
        "'rate'; allowed: learning_rate, max_grad_norm, patience, schedule, "
        "warmup_fraction, weight_decay",
    ),
    Bad(
        "unknown setting of a task",
        entry(settings={"metric": "f1"}),
        "suite 'small': task 'animals': settings: unknown field 'metric'; allowed: "
        "checkpoint_metric, citation, description, folder, group, kind, label, label_range, "
        "labels, licence, max_length, metrics, name, source, splits, test_size, text, "
        "validation_size, version (did you mean 'metrics'?)",
    ),
    Bad(
        "method that is not there",
        entry(methods={"dora": {}}),
        "suite 'small' has no method 'dora'; allowed: head, head/default, lora, "
        "lora/default, majority, majority/default (did you mean 'lora'?)",
    ),
    Bad(
        "code by a setting of PEFT",
        method("peft:LORA", config={"settings": {"megatron_core": "os"}}),
        "suite 'small': method 'peft:LORA': config: field 'settings': may not name program "
        "code to import, as 'megatron_core' does; got {'megatron_core': 'os'}",
    ),
]
