"""scGAN and cscGAN (Marouf et al. 2020), implemented in TensorFlow 2.

`models.scgan.generator` holds the two generators and imports without TensorFlow; the other
modules are the arithmetic behind them and need it.
"""
