"""Every error this package raises on purpose.

PlasticityError
├── InputError            what the user named cannot be used
│   ├── ModelNotUsable    a model that is missing, unreadable or of the wrong sort
│   ├── TextNotUsable     a text that is missing, empty, binary, too short or wrongly encoded
│   └── SettingNotUsable  a setting, flag or argument outside what it may be
├── RecordError           a run folder that cannot be read or written
│   ├── NotARun           the folder holds no run, or something foreign
│   ├── NewerSchema       written by a newer version of this package
│   ├── CorruptRecord     a line or tensor that cannot be read
│   ├── RunLocked         somebody else is writing this run
│   └── RecordNotWritable a full or read-only disk, a deleted folder
├── AnatomyError          a model whose attention cannot be reached
│   ├── NotDissectable    no attention to find, or no way to run the model
│   ├── TapSilent         a tap that did not fire
│   ├── NotBanked         a head that the bank does not hold
│   └── NotMeasurable     a signal that has no value here: no loss, no labels, nan, too few positions
├── SurgeryError          heads that cannot be put to sleep or woken
│   ├── NotRemovable      heads that do not come apart, or whose weights serve others
│   └── ProofFailed       an operation that changed more than it should have, and was undone
└── TrainingError         a model that cannot be trained on, or a state that is not this course's
    └── Diverged          a loss or gradient that is not finite; the step was not taken

Each message is one sentence: what, where, what was seen, what to do.
"""


class PlasticityError(Exception):
    """Anything this package refuses, in one sentence meant for the user."""


class InputError(PlasticityError):
    """What the user named cannot be used."""


class ModelNotUsable(InputError):
    """A model that is missing, unreadable or of the wrong sort."""


class TextNotUsable(InputError):
    """A text that is missing, empty, binary, too short or wrongly encoded."""


class SettingNotUsable(InputError):
    """A setting, flag or argument outside what it may be."""


class RecordError(PlasticityError):
    """A run folder that cannot be read or written."""


class NotARun(RecordError):
    """The folder holds no run, or something foreign."""


class NewerSchema(RecordError):
    """The run was written by a newer version of this package."""


class CorruptRecord(RecordError):
    """A line or tensor of the record cannot be read."""


class RunLocked(RecordError):
    """Somebody else is writing this run."""


class RecordNotWritable(RecordError):
    """The disk is full or read-only, or the run folder is gone."""


class AnatomyError(PlasticityError):
    """A model whose attention cannot be reached."""


class NotDissectable(AnatomyError):
    """There is no attention to find, or no way to run the model."""


class TapSilent(AnatomyError):
    """A tap did not fire in a pass that it was open in."""


class NotBanked(AnatomyError):
    """The bank does not hold this head."""


class NotMeasurable(AnatomyError):
    """A signal has no value here, for want of a loss, of finite numbers, or of anything that could be seen."""


class SurgeryError(PlasticityError):
    """Heads cannot be put to sleep or woken."""


class NotRemovable(SurgeryError):
    """These heads do not come apart, or their weights serve others too."""


class ProofFailed(SurgeryError):
    """An operation changed more than it should have; it was undone."""


class TrainingError(PlasticityError):
    """A model cannot be trained like this, or a state is not of this course."""


class Diverged(TrainingError):
    """A loss or gradient is not finite; the step that it belongs to was not taken."""


def said(fault: BaseException) -> str:
    """What an error of somebody else's says, short enough to stand within a sentence of ours."""
    first = next(iter(str(fault).splitlines()), "").strip()
    return f"{type(fault).__name__}: {first[:160]}" if first else type(fault).__name__
