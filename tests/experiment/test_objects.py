"""Experiments on the user's own objects: other models than language models, loaders, functions."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, ViTConfig, ViTForImageClassification

from neural_plasticity.errors import Diverged, ModelNotUsable, NotMeasurable, PlasticityError, SettingNotUsable
from neural_plasticity.experiment.experiment import Experiment
from neural_plasticity.launch import resume
from neural_plasticity.record import (
    Attention,
    Checkpoint,
    Compared,
    Evaluation,
    Failed,
    Finished,
    HeadsMeasured,
    Metrics,
    Notice,
    Operation,
    Sample,
)
from tests.experiment.runs import Recorder, assert_same_end, experiment, little, small
from tests.experiment.test_resume import in_step


class Images(Dataset):
    """Bright and dark ones, with noise that is drawn as they are read."""

    def __len__(self):
        return 16

    def __getitem__(self, number):
        return {"pixel_values": torch.randn(3, 8, 8) * 0.3 + (number % 2), "labels": torch.tensor(number % 2)}


def images(seed: int = 0, kind: type = ViTForImageClassification):
    """A tiny image classifier."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 16}
    return kind(ViTConfig(image_size=8, patch_size=4, num_labels=2, hidden_dropout_prob=0.1, **sizes)).eval()


def encoder(kind=BertForSequenceClassification, **more):
    """A tiny encoder."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 16, "vocab_size": 50}
    return kind(BertConfig(**sizes, **more)).eval()


def sentences(count: int = 4) -> list[dict]:
    """Batches of a text that says which of two classes it is of."""
    draws = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        labels = torch.randint(2, (4,), generator=draws)
        ids = torch.randint(2, 50, (4, 6), generator=draws)
        ids[:, 0] = labels
        made.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
    return made


def shuffled(**more) -> DataLoader:
    return DataLoader(Images(), batch_size=4, shuffle=True, **more)


def on_images(settings, *sinks, **more) -> Experiment:
    """An experiment on images, read in another order in each pass."""
    given = {"model": images(), "train": shuffled(), "eval": DataLoader(Images(), batch_size=4), "metrics": ["accuracy"]}
    return Experiment(settings, sinks=sinks, **{**given, **more})


def test_an_image_classifier_is_pruned_with_a_loader(tmp_path):
    outcome = on_images(little(tmp_path, speed_tokens=8)).run()
    (finished,) = outcome.run.events(Finished)
    assert 0 <= finished.summary["accuracy"] <= 1
    assert finished.summary["accuracy_before"] == outcome.run.events(Evaluation)[0].values["accuracy"]
    assert outcome.surgeon.report().after.parameters == sum(each.numel() for each in outcome.model.parameters())
    assert len(outcome.surgeon.dormant) == round(0.4 * 8)
    assert not outcome.run.events(Sample)
    assert outcome.run.events(Attention)[0].tokens == ("0", "1", "2", "3", "4")  # four patches, and the one that stands for all
    speed = outcome.run.events(Compared)[-1]
    assert speed.values["prefill_ratio"] > 0
    assert "decode_ratio" not in speed.values


@pytest.mark.parametrize("own", [False, True])
def test_a_shuffled_loader_gives_the_same_batches_after_a_stop(tmp_path, own):
    """And the same noise, whatever was drawn before, and whatever a generator of its own was seeded with."""
    settings = little(tmp_path, steps=5, cycles=1, eval_every=2)

    def made(*sinks, seed: int):
        model, more = images(), {"generator": torch.Generator().manual_seed(seed)} if own else {}
        torch.manual_seed(seed)
        return on_images(settings, *sinks, model=model, train=shuffled(**more), eval=shuffled(**more))

    whole = made(seed=1).run().folder
    stopped = made(Recorder(in_step(7)), seed=2)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    made(seed=3).run(resume=stopped.folder)
    assert_same_end(whole, stopped.folder)


def test_what_is_learned_does_not_depend_on_how_often_the_same_loader_is_read_to_judge(tmp_path):
    """The order is drawn as the loader goes, by a generator of its own."""

    def losses(**more):
        sampler = RandomSampler(range(16), replacement=True, num_samples=48, generator=torch.Generator())
        given = DataLoader(Images(), batch_size=4, sampler=sampler)
        run = on_images(little(tmp_path, cycles=1, steps=16, warmup_steps=0, **more), train=given, eval=given).run().run
        return [event.values["train_loss"] for event in run.events(Metrics) if "train_loss" in event.values]

    assert losses(eval_every=1) == losses(eval_every=5) == losses()


def test_an_encoder_is_pruned_with_lists_and_a_loss_and_metrics_of_ones_own(tmp_path):
    seen = []

    def loss(outputs, batch):
        seen.append(len(batch["labels"]))
        return torch.nn.functional.cross_entropy(outputs.logits, batch["labels"], label_smoothing=0.1)

    def sure(outputs, batch):
        return outputs.logits.softmax(-1).amax(-1).mean()

    outcome = Experiment(
        little(tmp_path, warmup_steps=10, steps=4, cycles=1),
        model=encoder(),
        train=sentences(),
        eval=tuple(sentences(2)),
        loss=loss,
        metrics={"sure": sure, "right": "accuracy"},
    ).run()
    summary = outcome.run.events(Finished)[0].summary
    assert seen
    assert summary["right"] > summary["right_before"] or summary["right_before"] == 1
    assert 0.5 <= summary["sure"] <= 1
    with torch.no_grad():
        expected = np.mean([float(loss(outcome.model(**batch), batch)) for batch in sentences(2)])  # alike in size
    assert summary["loss_nats"] == pytest.approx(expected, rel=1e-5)
    assert outcome.run.events(Evaluation)[-1].documents == ("batch 0", "batch 1")


def unlabelled(count: int = 4) -> list[dict]:
    """Batches of token ids, some of them shorter."""
    draws = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        mask = torch.ones(4, 9, dtype=torch.long)
        mask[0, 6:] = 0
        made.append({"input_ids": torch.randint(2, 2048, (4, 9), generator=draws), "attention_mask": mask})
    return made


@pytest.mark.parametrize("as_setting", [True, False])
def test_a_loss_that_is_named_is_what_the_model_learns_by_is_judged_by_and_is_measured_by(as_setting, tmp_path):
    """That of the next token needs no labels, and is the model's own loss where there are some."""
    bare = unlabelled()
    labelled = [each | {"labels": each["input_ids"].masked_fill(each["attention_mask"] == 0, -100)} for each in bare]
    told = []
    for batches, given in ((bare, "next_token"), (labelled, None)):
        more = {"accumulation": 2, "loss": given if as_setting else None}
        loss = None if as_setting else given
        settings = little(tmp_path, **more)
        run = Experiment(settings, model=small(), train=batches, eval=batches, loss=loss).run().run
        steps = [event.values["train_loss"] for event in run.events(Metrics) if "train_loss" in event.values]
        stages = [event.values["loss_nats"] for event in run.events(Evaluation)]
        taylor = run.tensors(run.events(HeadsMeasured)[0])["taylor"]
        told.append(([*steps, *stages, *taylor.flatten()], run.description["settings"]["loss"]))
    assert told[0][0] == pytest.approx(told[1][0], rel=1e-4)
    assert (told[0][1], told[1][1]) == ("next_token", None)


def test_a_model_does_not_learn_from_itself(tmp_path):
    given = {"model": small(), "train": unlabelled(), "eval": unlabelled()}
    for more in ({}, {"warmup_steps": 0}, {"cycles": 0}):
        with pytest.raises(SettingNotUsable, match="teaches a model nothing that it does not know; use next_token") as refusal:
            Experiment(little(tmp_path, **more), loss="self_distillation", **given)
        assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())
    outcome = Experiment(little(tmp_path, warmup_steps=0, steps=0), loss="self_distillation", **given).run()
    assert outcome.run.events(Operation)
    Experiment(little(tmp_path, loss="self_distillation"), loss=lambda outputs, batch: outputs.logits.mean(), **given)


def test_a_run_on_own_objects_is_resumed_with_them_and_not_by_name(tmp_path):
    settings = little(tmp_path)
    made = Experiment(settings, model=encoder(), train=sentences(), eval=sentences(), sinks=[Recorder(in_step(3))])
    with pytest.raises(KeyboardInterrupt):
        made.run()
    with pytest.raises(SettingNotUsable, match=r"objects of its user's own.*run\(resume=\.\.\.\)"):
        resume(made.folder, quiet=True)
    outcome = Experiment(settings, model=encoder(), train=sentences(), eval=sentences()).run(resume=made.folder)
    assert outcome.run.events(Finished)


class MyViTForImageClassification(ViTForImageClassification):
    """A class that nobody else has."""


def test_a_model_that_only_its_users_code_can_open_is_pruned_and_never_written(tmp_path):
    outcome = on_images(little(tmp_path), model=images(kind=MyViTForImageClassification)).run()
    told = [event.message for event in outcome.run.events(Notice)]
    why = "MyViTForImageClassification is not a class of transformers, so nobody could open what is saved"
    assert any(message.startswith("No checkpoints are written") and why in message for message in told)
    assert any(message.startswith("The model was not saved") and why in message for message in told)
    assert outcome.run.events(Finished)
    assert not outcome.run.events(Checkpoint)
    stopped = on_images(little(tmp_path), Recorder(in_step(3)), model=images(kind=MyViTForImageClassification))
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    on_images(little(tmp_path), model=images(kind=MyViTForImageClassification)).run(resume=stopped.folder)  # from its beginning


def test_a_model_that_its_config_does_not_describe_is_pruned_and_never_written(tmp_path):
    """A class of transformers, and yet nobody could open what would be saved of it."""
    model = images()
    model.classifier = torch.nn.Sequential(model.classifier, torch.nn.Linear(2, 2))
    outcome = on_images(little(tmp_path), model=model).run()
    told = [event.message for event in outcome.run.events(Notice)]
    assert sum("cannot be built again from its config" in message for message in told) == 2
    assert outcome.run.events(Finished)
    assert not outcome.run.events(Checkpoint)
    assert not (outcome.run.folder / "model").exists()


def test_a_compiled_model_goes_through_all_of_it(tiny, tmp_path):
    with torch.compiler.set_stance("force_eager"):  # what compiling computes is others' to test
        outcome = experiment(little(tmp_path, cycles=1), tiny.tokenizer, model=torch.compile(small(), backend="eager")).run()
    assert outcome.run.events(Operation)
    assert outcome.run.events(Checkpoint)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ([], "There are no batches in what was given as train="),
        ((), "There are no batches"),
        (iter(sentences()), "can be read only once"),
        ((each for each in sentences()), "can be read only once"),
        (3, "is a int; give a list of batches or a DataLoader"),
        ("a text", "Batch 1 given as train= is a str"),
        ([[torch.zeros(1)]], "Batch 1 given as train= is a list, and a batch is a mapping"),
        (DataLoader([(1, 2)]), "Batch 1 given as train= is a list"),
    ],
)
def test_what_is_no_material_is_refused_before_anything_begins(given, seen, tmp_path):
    with pytest.raises(SettingNotUsable, match=seen):
        Experiment(little(tmp_path), model=encoder(), train=given, eval=sentences())
    assert not list(tmp_path.iterdir())


def test_one_batch_alone_is_material(tmp_path):
    outcome = Experiment(little(tmp_path, cycles=0), model=encoder(), train=sentences()[0], eval=sentences()[0]).run()
    assert outcome.run.events(Finished)


def test_encoders_are_refused_on_text_and_taken_on_batches(tiny, tmp_path):
    with pytest.raises(ModelNotUsable, match="does not go on with a text; name a causal language model"):
        experiment(little(tmp_path), tiny.tokenizer, model=encoder(BertForMaskedLM))


def test_an_experiment_on_text_needs_a_tokenizer(tmp_path):
    with pytest.raises(ModelNotUsable, match="without a tokenizer"):
        experiment(little(tmp_path), None)


def spoilt(after: int, value=torch.nan):
    """A loss that turns into this after so many calls."""
    calls = []

    def loss(outputs, batch):
        calls.append(batch)
        return outputs.loss * (value if len(calls) > after else 1.0)

    return loss


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    ("after", "phase", "seen"), [(0, "evaluation", "Held-out batch 1 has a loss of"), (5, "warm-up", "Step 2")]
)
def test_a_loss_that_is_no_number_stops_the_run_and_leaves_the_last_good_checkpoint(value, after, phase, seen, tmp_path):
    made = Experiment(little(tmp_path), model=encoder(), train=sentences(), eval=sentences(), loss=spoilt(after, value))
    with pytest.raises(Diverged, match=seen) as stop:
        made.run()
    assert "\n" not in str(stop.value)
    assert str(stop.value).endswith("; the last checkpoint holds the model from before.") == (
        phase == "warm-up"
    )  # at first there is none
    last = [entry.event for entry in made_run(made).entries()][-1]
    assert isinstance(last, Failed)
    assert (last.phase, last.error) == (phase, "Diverged")
    assert all(each.isfinite().all() for each in made.model.parameters())
    outcome = Experiment(little(tmp_path), model=encoder(), train=sentences(), eval=sentences()).run(resume=made.folder)
    assert outcome.run.events(Finished)


def test_a_model_that_has_no_checkpoints_is_not_promised_one(tmp_path):
    made = on_images(little(tmp_path), model=images(kind=MyViTForImageClassification), loss=spoilt(10))
    with pytest.raises(Diverged) as stop:
        made.run()
    assert "checkpoint" not in str(stop.value)


def made_run(made: Experiment):
    from neural_plasticity.record import Run

    assert made.folder is not None
    return Run(made.folder)


@pytest.mark.parametrize("loss", [lambda outputs, batch: outputs.logits, lambda outputs, batch: "low"])
def test_a_loss_that_is_not_one_number_is_refused_in_one_sentence(loss, tmp_path):
    made = Experiment(little(tmp_path), model=encoder(), train=sentences(), eval=sentences(), loss=loss)
    with pytest.raises(PlasticityError, match="one number is needed"):
        made.run()


def test_a_metric_that_raises_stops_the_run_with_its_name(tmp_path):
    made = Experiment(little(tmp_path), model=encoder(), train=sentences(), eval=sentences(), metrics={"odd": lambda o, b: 1 / 0})
    with pytest.raises(NotMeasurable, match="The metric 'odd' has no value at batch 1: it failed"):
        made.run()
    assert isinstance([entry.event for entry in made_run(made).entries()][-1], Failed)


@pytest.mark.parametrize("name", ["heads", "steps", "prefill_ratio", "mine_before", "loss_difference"])
def test_a_metric_cannot_have_the_name_of_a_number_of_the_summary(name, tmp_path):
    with pytest.raises(SettingNotUsable, match=f"named '{name}'"):
        Experiment(little(tmp_path), model=encoder(), train=sentences(), eval=sentences(), metrics={name: "accuracy"})


def test_batches_without_any_label_count_for_nothing(tmp_path):
    """The mean of nothing is not a number, and is no loss either."""
    labelled, bare = sentences(2)
    bare = {**bare, "labels": torch.full((4, 6), -100)}
    labelled = {**labelled, "labels": labelled["input_ids"]}
    held = [labelled, bare]
    outcome = Experiment(
        little(tmp_path, cycles=0, warmup_steps=0), model=encoder(BertForMaskedLM), train=[labelled], eval=held
    ).run()
    (found,) = outcome.run.events(Evaluation)
    with torch.no_grad():
        assert found.values["loss_nats"] == pytest.approx(float(outcome.model(**labelled).loss), rel=1e-6)
    assert np.isnan(outcome.run.tensors(found)["document_losses"]).tolist() == [False, True]
