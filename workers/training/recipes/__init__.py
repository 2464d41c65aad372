"""The networks of the recipes, one file for each; ``shared/models/recipes.py`` has their parameters."""
