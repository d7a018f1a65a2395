"""Numbers that cannot be meant."""

from tests.support.bad_case import Bad, budget, text, training
from tests.support.bad_inputs import suite

NUMBERS = [
    Bad(
        "a billion seeds",
        suite(seeds=10**9),
        "{suite}: field 'seeds': a number of seeds must be at least 1 and at most 100000; "
        "got 1000000000",
    ),
    Bad(
        "no seeds",
        suite(seeds=0),
        "{suite}: field 'seeds': a number of seeds must be at least 1 and at most 100000; got 0",
    ),
    Bad(
        "empty list of seeds",
        suite(seeds=[]),
        "{suite}: field 'seeds': Value should have at least 1 item after validation, not 0; got []",
    ),
    Bad(
        "a seed twice",
        suite(seeds=[1, 1]),
        "{suite}: field 'seeds': seeds must differ; got [1, 1]",
    ),
    Bad(
        "negative seed",
        suite(seeds=[-1]),
        "{suite}: field 'seeds.0': Input should be greater than or equal to 0; got -1",
    ),
    Bad(
        "seed of 64 bits",
        suite(seeds=[2**63]),
        "{suite}: field 'seeds.0': Input should be less than 9223372036854775808; got "
        "9223372036854775808",
    ),
    Bad(
        "seeds in words",
        suite(seeds="three"),
        "{suite}: field 'seeds': should be a list; got 'three'",
    ),
    Bad(
        "part of a seed",
        suite(seeds=1.5),
        "{suite}: field 'seeds': should be a list; got 1.5",
    ),
    Bad(
        "too many runs",
        suite(seeds=40_000),
        "{suite}: fields 'tasks', 'backbones', 'methods' and 'seeds' make 120000 runs, but a "
        "suite may have at most 100000; split it",
    ),
    Bad(
        "endless epochs",
        suite(budget={"epochs": 1e308}),
        "{suite}: field 'budget.epochs': Input should be less than or equal to 1000000; got 1e+308",
    ),
    Bad(
        "endless steps",
        budget(steps=10**30),
        "{suite}: field 'budget.steps': Input should be less than or equal to 1000000000; "
        "got 1000000000000000000000000000000",
    ),
    Bad(
        "number of thousands of digits",
        text(f"seeds: 0x{'f' * 9000}"),
        "{suite}: field 'name' is required; field 'tasks' is required; field 'backbones' is"
        " required; field 'methods' is required; field 'seeds': a number of seeds must be "
        "at least 1 and at most 100000; got a number of thousands of digits; field 'budget'"
        " is required",
    ),
    Bad(
        "no length",
        suite(budget={}),
        "{suite}: field 'budget': give exactly one of 'epochs' and 'steps'; got {}",
    ),
    Bad(
        "two lengths",
        budget(epochs=1),
        "{suite}: field 'budget': give exactly one of 'epochs' and 'steps'; got {'epochs': "
        "1, 'steps': 4}",
    ),
    Bad(
        "batch of none",
        budget(batch_size=0),
        "{suite}: field 'budget.batch_size': Input should be greater than or equal to 1; got 0",
    ),
    Bad(
        "a billion evaluations",
        budget(evaluations=10**9),
        "{suite}: field 'budget.evaluations': Input should be less than or equal to 100000;"
        " got 1000000000",
    ),
    Bad(
        "one training example",
        budget(train_size=1),
        "{suite}: field 'budget.train_size': Input should be greater than or equal to 2; got 1",
    ),
    Bad(
        "rate above one",
        training(learning_rate=2),
        "{suite}: field 'training.learning_rate': Input should be less than or equal to 1; got 2",
    ),
    Bad(
        "rate that is no number",
        training(learning_rate=float("nan")),
        "{suite}: field 'training.learning_rate': Input should be a finite number; got nan",
    ),
    Bad(
        "endless warm-up",
        training(warmup_fraction=1),
        "{suite}: field 'training.warmup_fraction': Input should be less than 1; got 1",
    ),
    Bad(
        "unknown schedule",
        training(schedule="step"),
        "{suite}: field 'training.schedule': Input should be 'linear', 'cosine' or "
        "'constant'; got 'step'",
    ),
    Bad(
        "patience of none",
        training(patience=0),
        "{suite}: field 'training.patience': Input should be greater than or equal to 1; got 0",
    ),
    Bad(
        "unknown precision",
        suite(precision="fp8"),
        "{suite}: field 'precision': Input should be 'fp32', 'bf16', 'fp64' or 'auto'; got 'fp8'",
    ),
    Bad(
        "unknown protocol",
        suite(protocol="lenient"),
        "{suite}: field 'protocol': Input should be 'strict' or 'paper'; got 'lenient'",
    ),
    Bad(
        "negative backbone dropout",
        suite(backbone_dropout=-1),
        "{suite}: field 'backbone_dropout': Input should be greater than or equal to 0; got -1",
    ),
]
