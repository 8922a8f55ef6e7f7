"""What only the notebooks need. Nothing else imports it, so IPython and Matplotlib stay out of the core.

- `attention_figures`, `encoder_figures`, `text_figures`, `training_figures`, `classifier_figures`, `search_figures`:
  figures by theme
- `diagrams`: boxes and arrows; `attention_view`: an attention map to play with
- `drawing`: what the figures share, and how they and source are shown
- `inspection`, `calibration`, `transfer`: what is measured and then drawn
- `exercises`: checks that say what is still wrong with an answer
"""
