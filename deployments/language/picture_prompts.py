"""Prompts with pictures, by the processors of transformers' models that read them."""

import re
import secrets
from dataclasses import dataclass
from typing import Any

from .. import pixels
from ..errors import InvalidInput
from ..messages import ImagePart, Message, TextPart
from .request import LanguageRequest, check_characters, template_of
from .tools import described, knows_tools, plain_turns, turns


@dataclass(frozen=True)
class Prompt:
    """What a model reads: token ids, shape (1, n), and tensors that go with them, such as pictures, by their names."""

    tokens: Any
    others: dict[str, Any]

    @property
    def count(self) -> int:
        """Tokens. A picture takes some, more the larger the model sees it."""
        return int(self.tokens.shape[1])


def picture_prompt(processor: Any, request: LanguageRequest, longest: int) -> Prompt:
    """The conversation by the processor's chat template, with the pictures as the model sees them.

    Args:
        longest: characters that the model's context has room for, see `most_characters`.

    Raises:
        PromptTooLong: the messages have more characters than that.
        InvalidInput: a picture cannot be read, or the template or processor refuses the messages.
    """
    import jinja2

    check_characters(request, longest)
    mark, pictures = f"<{secrets.token_hex(8)}>", list[Any]()  # which no caller's text has
    messages = [_marked(message, number, mark, pictures) for number, message in enumerate(request.messages)]
    tools = [described(tool) for tool in request.tools] or None
    if knows_tools(template_of(processor.tokenizer, request)):
        said: list[dict[str, Any]] = turns(messages)
    else:
        said, tools = [dict(turn) for turn in plain_turns(messages, request.tools)], None
    left = iter(pictures)
    for turn in said:
        turn["content"] = [
            {"type": "image", "image": next(left)} if part == mark else {"type": "text", "text": part}
            for part in re.split(f"({re.escape(mark)})", turn["content"])
            if part
        ]
    try:
        read = processor.apply_chat_template(
            [said], tools=tools, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
    except jinja2.TemplateError as error:
        raise InvalidInput("messages", f"do not fit this model's chat template: {error}") from None
    except (ValueError, TypeError, KeyError, IndexError) as error:  # such as a picture too narrow to be seen
        raise InvalidInput("messages", f"cannot be read by this model: {str(error)[:300]}") from None
    others = {name: value for name, value in read.items() if name not in ("input_ids", "attention_mask")}
    return Prompt(read["input_ids"], others)


def _marked(message: Message, number: int, mark: str, pictures: list[Any]) -> Message:
    """The message as a text with a mark for each picture, which is opened."""
    texts = list[str]()
    for place, part in enumerate(message.parts):
        if isinstance(part, ImagePart):
            field = f"messages.{number}.content.{place}.image"
            pictures.append(pixels.on_white(pixels.open_picture(part.image, field)))
            texts.append(mark)
        elif isinstance(part, TextPart):
            texts.append(part.text)
    return message.model_copy(update={"content": "".join(texts)})
