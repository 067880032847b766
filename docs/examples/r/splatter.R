# Splatter itself (Zappia 2017), each type apart; for bridge.py. Needs Bioconductor's splatter:
#   BiocManager::install("splatter")
#   Rscript splatter.R fit FOLDER MODEL SEED
#   Rscript splatter.R sample FOLDER MODEL SEED N_CELLS
#
# Splatter's genes have no names: those of a type are given to its real genes by rank of mean. Genes that a
# type never shows stay silent. Types of fewer than 10 cells are refused by splatEstimate's fits.
suppressPackageStartupMessages(library(splatter))
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[2]
model <- file.path(arguments[3], "parameters.rds")
seed <- as.integer(as.numeric(arguments[4]) %% 2147483647)
lines_of <- function(name) readLines(file.path(folder, name), encoding = "UTF-8")

if (arguments[1] == "fit") {
  cells <- scan(file.path(folder, "counts.txt"), list(0L, 0L, 0), quiet = TRUE)
  types <- lines_of("types.txt")
  n_genes <- length(lines_of("genes.txt"))
  counts <- Matrix::sparseMatrix(cells[[1]], cells[[2]], x = cells[[3]], dims = c(n_genes, length(types)))
  known <- lapply(split(seq_along(types), types), function(columns) {
    of_type <- as.matrix(counts[, columns, drop = FALSE])
    sums <- rowSums(of_type)
    list(share = length(columns) / length(types), sums = sums,
         parameters = splatEstimate(of_type[sums > 0, , drop = FALSE]))
  })
  saveRDS(list(n_genes = n_genes, types = known), model)
} else {
  known <- readRDS(model)
  n_cells <- as.integer(arguments[5])
  set.seed(seed)
  if (file.exists(file.path(folder, "types.txt"))) {
    asked <- lines_of("types.txt")
  } else {
    shares <- vapply(known$types, function(type) type$share, 0)
    asked <- sample(names(known$types), n_cells, replace = TRUE, prob = shares)
    writeLines(asked, file.path(folder, "types.txt"), useBytes = TRUE)
  }
  triplets <- lapply(unique(asked), function(name) {
    type <- known$types[[name]]
    columns <- which(asked == name)
    genes <- which(type$sums > 0)
    drawn <- splatSimulate(type$parameters, batchCells = length(columns), nGenes = length(genes),
                           seed = seed, verbose = FALSE)
    counts <- as.matrix(SingleCellExperiment::counts(drawn))
    # The rows by their simulated mean, the genes by their real one.
    counts[order(type$sums[genes]), ] <- counts[order(SummarizedExperiment::rowData(drawn)$GeneMean), ]
    seen <- which(counts > 0, arr.ind = TRUE)
    cbind(genes[seen[, 1]], columns[seen[, 2]], counts[seen])
  })
  write.table(do.call(rbind, triplets), file.path(folder, "counts.txt"), row.names = FALSE, col.names = FALSE)
}
