# Negative-binomial genes, apart in each type, in base R: a complete small program for bridge.py.
#   Rscript negative_binomial.R fit FOLDER MODEL SEED
#   Rscript negative_binomial.R sample FOLDER MODEL SEED N_CELLS
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[2]
model <- file.path(arguments[3], "parameters.rds")
set.seed(as.numeric(arguments[4]) %% 2147483647)

# Names may hold anything but the end of a line: no quotes, no separators.
lines_of <- function(name) readLines(file.path(folder, name), encoding = "UTF-8")

if (arguments[1] == "fit") {
  cells <- scan(file.path(folder, "counts.txt"), list(0L, 0L, 0), quiet = TRUE)
  n_genes <- length(lines_of("genes.txt"))
  types <- factor(lines_of("types.txt"))
  n_each <- as.vector(table(types))
  place <- factor(cells[[1]] + n_genes * (as.integer(types)[cells[[2]]] - 1L), seq_len(n_genes * nlevels(types)))
  per_cell <- function(values) {
    sums <- tapply(values, place, sum, default = 0)
    sweep(matrix(sums, n_genes), 2, n_each, "/")
  }
  means <- per_cell(cells[[3]])
  excess <- per_cell(cells[[3]]^2) - means^2 - means
  # Where the variance does not exceed the mean, a size this large is as good as Poisson.
  sizes <- ifelse(excess > 0, means^2 / excess, 1e6)
  saveRDS(list(types = levels(types), shares = n_each / sum(n_each), means = means, sizes = sizes), model)
} else {
  known <- readRDS(model)
  n_cells <- as.integer(arguments[5])
  if (file.exists(file.path(folder, "types.txt"))) {
    asked <- match(lines_of("types.txt"), known$types)
  } else {
    asked <- sample(length(known$types), n_cells, replace = TRUE, prob = known$shares)
    writeLines(known$types[asked], file.path(folder, "types.txt"), useBytes = TRUE)
  }
  counts <- rnbinom(n_cells * nrow(known$means), mu = known$means[, asked], size = known$sizes[, asked])
  seen <- which(matrix(counts, nrow(known$means)) > 0, arr.ind = TRUE)
  triplets <- cbind(seen, counts[counts > 0])
  write.table(triplets, file.path(folder, "counts.txt"), row.names = FALSE, col.names = FALSE)
}
