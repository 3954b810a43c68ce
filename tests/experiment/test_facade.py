"""The doors that reach across rooms: what they refuse."""

import pytest

from neural_plasticity.errors import ModelNotUsable, SettingNotUsable
from neural_plasticity.facade import NeuralPlasticity, VisualizationReporter
from tests.experiment.test_objects import encoder, sentences


def test_a_pruning_cycle_is_one_cycle_of_as_many_steps_and_such_a_level_as_its_own_parameters_say(tmp_path):
    found = NeuralPlasticity.run_pruning_cycle(
        *(encoder(), sentences(), sentences(), 0.25, "random", 1e-3, 2),
        out=str(tmp_path),
        speed_tokens=0,
        mode="mask_forward",
    )
    assert (found["strategy"], found["pruning_level"], len(found["pruned_heads"])) == ("random", 0.25, 2)
    assert [len(losses) for losses in found["training_metrics"].values()] == [2]


@pytest.mark.parametrize(
    ("name", "instead"), [("level", "pruning_level="), ("steps", "training_steps="), ("cycles", "there is one")]
)
def test_a_pruning_cycle_refuses_settings_that_it_has_other_names_for(name, instead, tmp_path):
    with pytest.raises(SettingNotUsable, match=f"takes no {name}=, and was given 0.5; .*{instead}") as refusal:
        NeuralPlasticity.run_pruning_cycle(encoder(), sentences(), sentences(), out=str(tmp_path), **{name: 0.5})
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_reporter_without_a_model_says_what_it_lacks(tmp_path):
    with pytest.raises(ModelNotUsable, match="made without a model, so nothing can be written; pass model="):
        VisualizationReporter(output_dir=tmp_path).run_text_generation_suite()
