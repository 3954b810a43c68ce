"""`python -m neural_plasticity` is `plasticity`."""

from neural_plasticity.cli import main

main()
