"""The closed form of a linear item-item model. Shapes: U users, I items."""

import numpy as np
from scipy.sparse import csr_matrix

from llm4rec.schema import FloatMatrix


def item_item_weights(matrix: csr_matrix, reg: float) -> FloatMatrix:
    """B = argmin ||X - X B||^2 + reg ||B||^2 subject to diag(B) = 0, shape (I, I).

    With P = (X^T X + reg I)^-1 the solution is B_ij = -P_ij / P_jj off the diagonal
    (Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019, equation 8).

    Args:
        matrix: X, who had what, shape (U, I).
        reg: L2 regularisation, lambda, above 0.
    """
    gram = (matrix.T @ matrix).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += reg
    inverse = np.linalg.inv(gram)
    weights = -inverse / inverse.diagonal()
    np.fill_diagonal(weights, 0.0)
    return weights.astype(np.float32)
