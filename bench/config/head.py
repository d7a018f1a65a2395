"""Which head of the model library a task puts on a backbone; plain data, without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Head:
    """One way for a model to answer.

    Attributes:
        auto_class: the model library's class that loads a backbone with this head.
        families: the library's mapping that names the architectures which have it.
        peft_task: PEFT's name of what such a model does.
    """

    auto_class: str
    families: str
    peft_task: str


SEQUENCE_CLASSIFICATION = Head(
    "AutoModelForSequenceClassification", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING", "SEQ_CLS"
)
LANGUAGE_MODEL = Head("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING", "CAUSAL_LM")
SPAN = Head("AutoModelForQuestionAnswering", "MODEL_FOR_QUESTION_ANSWERING_MAPPING", "QUESTION_ANS")
