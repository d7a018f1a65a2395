"""The model library's head for a task, as plain data without torch."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class HeadType:
    """One way for a model to answer.

    Attributes:
        auto_class: the model library's class that loads a backbone with this head.
        families: the library's mapping of the architectures with this head.
        peft_task: PEFT's name of the task type.
    """

    auto_class: str
    families: str
    peft_task: str

    def of(self, config: Any) -> "HeadType":
        """Return the head as a backbone with this configuration has it."""
        return SEQ_TO_SEQ if self == LANGUAGE_MODEL and config.is_encoder_decoder else self


SEQUENCE_CLASSIFICATION = HeadType(
    "AutoModelForSequenceClassification", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING", "SEQ_CLS"
)
LANGUAGE_MODEL = HeadType("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING", "CAUSAL_LM")
SEQ_TO_SEQ = HeadType(
    "AutoModelForSeq2SeqLM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING", "SEQ_2_SEQ_LM"
)
"""The language model of an encoder-decoder."""
SPAN = HeadType(
    "AutoModelForQuestionAnswering", "MODEL_FOR_QUESTION_ANSWERING_MAPPING", "QUESTION_ANS"
)
