"""A model small enough for a test, that says what the test wants."""

import time


class Telling:
    """A model that says one text, greedily, whatever it is asked. At token `hold` it stutters ("~~~") until `until` is set; then it
    dies, where it is to.
    """

    def __init__(self, tiny_model, text, hold=None, until=None, dies=False):
        self._model, tokenizer = tiny_model
        self.config, self.generation_config = self._model.config, self._model.generation_config
        self._tokens = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        (self._stutter,) = tokenizer("~", add_special_tokens=False)["input_ids"]
        self._hold, self._until, self._dies, self.drawn = hold, until, dies, 0

    def __call__(self, input_ids, **given):
        out = self._model(input_ids=input_ids, **given)
        if input_ids.shape[1] > 1:  # a prompt
            self.drawn = 0
        out.logits[:] = 0
        if self.drawn == self._hold and not self._until.is_set():
            time.sleep(0.02)
            out.logits[..., self._stutter] = 100
        elif self.drawn == self._hold and self._dies:
            raise RuntimeError("the generator died")
        else:
            out.logits[..., self._tokens[min(self.drawn, len(self._tokens) - 1)]] = 100
            self.drawn += 1
        return out
