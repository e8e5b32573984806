"""The featurizer: joins interactions with the features of their posts, and turns them into signals."""
