"""The model library's head for a task, as plain data without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Head:
    """One way for a model to answer.

    Attributes:
        auto_class: the model library's class that loads a backbone with this head.
        families: the library's mapping of the architectures with this head.
        peft_task: PEFT's name of the task type.
    """

    auto_class: str
    families: str
    peft_task: str


SEQUENCE_CLASSIFICATION = Head(
    "AutoModelForSequenceClassification", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING", "SEQ_CLS"
)
LANGUAGE_MODEL = Head("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING", "CAUSAL_LM")
SPAN = Head("AutoModelForQuestionAnswering", "MODEL_FOR_QUESTION_ANSWERING_MAPPING", "QUESTION_ANS")
