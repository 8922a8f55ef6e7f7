// The parts of BERT that MXNet's own operators compute slowly on a CPU, each as one operator:
//
//   bert_attention   dropout(softmax(Q K^T / sqrt(d) + mask)) V for all heads, without a score matrix in memory
//   bert_add_norm    LayerNorm(X + dropout(Y))
//   bert_gelu        GELU, X times the normal distribution function of X
//   bert_dense       X W^T + b, for layers that narrow: MXNet's product is slow on long inner dimensions
//
// and what a dense layer in int8 needs around oneDNN's product (quantization.py): bert_quantize_rows, bert_dequantize.
//
// What they gain, in a training step of MiniLM-L6, 32 x 128, on two cores (python -m benchmarks.profile): attention
// 628 -> 143 ms, LayerNorm with residuals and dropout 521 -> 32, GELU 46 -> 18; dense layers of a prediction 381 -> 359.
//
// The same functions stand in blocks.py in MXNet's operators; the tests compare both, values and gradients.
// operators.py has this file compiled. In the shape comments: B samples, L positions, H heads, C units, d = C / H.
//
// Sources: Vaswani et al. 2017, section 3.2; Ba et al. 2016 (LayerNorm); Hendrycks and Gimpel 2016 (GELU);
// attention by blocks of queries whose weights are computed again for the gradient: Dao et al. 2022,
// "FlashAttention".

#include <mxnet/lib_api.h>
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <locale>
#include <memory>
#include <sstream>

using mxnet::ext::MX_FAIL;
using mxnet::ext::MX_SUCCESS;
using mxnet::ext::MXReturnValue;
using mxnet::ext::OpResource;
using Attributes = std::unordered_map<std::string, std::string>;
using Tensors = std::vector<mxnet::ext::MXTensor>;
using Shapes = std::vector<std::vector<unsigned int>>;

namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16;  // floats in a vector register
constexpr int kSums = 24;   // registers for the sums of a product, of 32
#elif defined(__aarch64__)
constexpr int kLanes = 4;
constexpr int kSums = 24;  // of 32
#else
constexpr int kLanes = 8;
constexpr int kSums = 12;  // of 16
#endif
typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

constexpr int kQueries = 48;          // queries that attention takes at once: their scores stay in the cache
constexpr float kHiddenScore = -1e4f;  // as in blocks.py

int round_up(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Memory aligned to cache lines; null if there is not enough.
struct Buffer {
  std::unique_ptr<float, void (*)(void*)> memory;
  explicit Buffer(size_t size)
      : memory(static_cast<float*>(std::aligned_alloc(64, (size * sizeof(float) + 63) / 64 * 64)), std::free) {}
  operator float*() { return memory.get(); }
};

// A thread's arrays of these sizes, in one piece of memory. If there is not enough, `missing` becomes true, and the
// thread has to pass over its work: it can return no error.
class Workspace {
  std::vector<int64_t> ends{0};
  Buffer memory{0};

 public:
  Workspace(std::initializer_list<int64_t> sizes, std::atomic<bool>& missing) {
    for (int64_t size : sizes) ends.push_back(ends.back() + (size + 15) / 16 * 16);  // whole cache lines
    memory = Buffer(ends.back());
    if (memory == nullptr) missing = true;
  }
  bool is_missing() { return memory == nullptr; }
  float* array(int i) { return memory + ends[i]; }
};

MXReturnValue fail(const std::string& message) {
  MX_ERROR_MSG << message;
  return MX_FAIL;
}

MXReturnValue no_memory() { return fail("not enough memory for BERT's own operators: take a smaller batch"); }

// A number among an operator's attributes, NaN if there is none. std::stod would read it as the process's locale
// writes numbers.
double number(const Attributes& attributes, const char* name) {
  const auto found = attributes.find(name);
  std::istringstream text(found == attributes.end() ? "" : found->second);
  text.imbue(std::locale::classic());
  double value;
  return text >> value ? value : std::numeric_limits<double>::quiet_NaN();
}

// e^x for x <= 0 with a relative error of 2e-7; a form that compilers turn into vector instructions.
inline float exp_negative(float x) {
  x = std::max(x, -87.0f);
  const float n = std::floor(x * 1.44269504f + 0.5f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // x - n log 2, in two steps
  float p = 1.0f / 720;  // Taylor's series: |r| is at most log(2) / 2
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int bits = (static_cast<int>(n) + 127) << 23;  // 2^n
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

// --- Dropout -------------------------------------------------------------------------------------------------
// The mask is not stored: random_bits(key, i) gives it again for the gradient. It is the integer hash
// "lowbias32" (C. Wellons, 2018) of a counter.
inline uint32_t random_bits(uint32_t key, uint32_t i) {
  uint32_t x = (i * 0x9e3779b9u) ^ key;
  x ^= x >> 16;
  x *= 0x21f0aaadu;
  x ^= x >> 15;
  x *= 0xd35a2d97u;
  x ^= x >> 15;
  return x;
}

struct Dropout {
  bool active;
  uint32_t seed, threshold;
  float scale;

  // MXNet's Dropout is the only operator that knows whether the network trains. `mode` is what it made of
  // a 1: still 1 when predicting, else 0 or 2.
  Dropout(const Attributes& attributes, const float* mode, int32_t seed)
      : active(false), seed(static_cast<uint32_t>(seed)) {
    const double rate = number(attributes, "dropout");
    active = rate > 0 && *mode != 1.0f;
    threshold = static_cast<uint32_t>(rate * 4294967296.0);
    scale = static_cast<float>(1 / (1 - rate));
  }
  uint32_t key(int64_t row) const { return random_bits(random_bits(seed, row), row >> 32); }

  // What each of the n elements of a row is multiplied with: 0 or 1 / (1 - rate); all 1 when predicting.
  void factors(int64_t row, int n, float* out) const {
    if (!active) return std::fill(out, out + n, 1.0f);
    const uint32_t key = this->key(row), threshold = this->threshold;
    const float scale = this->scale;
#pragma omp simd
    for (int i = 0; i < n; ++i) out[i] = random_bits(key, i) < threshold ? 0.0f : scale;
  }
};

// Dropout with a new seed from MXNet's random numbers, which is also the operator's last output.
Dropout draw_dropout(const Attributes& attributes, const float* mode, const OpResource& resource, int32_t* seed) {
  const bool active = Dropout(attributes, mode, 0).active;
  *seed = active ? static_cast<int32_t>(resource.get_cpu_rand_states()[0]()) : 0;
  return Dropout(attributes, mode, *seed);
}

// --- Matrix product ------------------------------------------------------------------------------------------
// C (M, N) = A (M, K) B (K, N), or C += A B. A element's address is a + row * a_row + column * a_column.
// N and the row lengths of B and C are multiples of kLanes.
template <int kRows, int kVectors>
void product_tile(int K, const float* a, int64_t a_row, int64_t a_column, const float* b, int64_t b_row, float* c,
                  int64_t c_row, bool add) {
  Vector sums[kRows][kVectors];
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kVectors; ++j)
      sums[i][j] = add ? *reinterpret_cast<const Vector*>(c + i * c_row + j * kLanes) : Vector{};
  for (int k = 0; k < K; ++k) {
    Vector row[kVectors];
    for (int j = 0; j < kVectors; ++j) row[j] = *reinterpret_cast<const Vector*>(b + k * b_row + j * kLanes);
#pragma GCC unroll 24
    for (int i = 0; i < kRows; ++i) {
      const float value = a[i * a_row + k * a_column];
      for (int j = 0; j < kVectors; ++j) sums[i][j] += value * row[j];
    }
  }
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kVectors; ++j) *reinterpret_cast<Vector*>(c + i * c_row + j * kLanes) = sums[i][j];
}

template <int kVectors>
void product_columns(int M, int K, const float* a, int64_t a_row, int64_t a_column, const float* b, int64_t b_row,
                     float* c, int64_t c_row, bool add) {
  constexpr int kRows = kSums / kVectors;
  int i = 0;
  for (; i + kRows <= M; i += kRows)
    product_tile<kRows, kVectors>(K, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, add);
  for (; i < M; ++i)
    product_tile<1, kVectors>(K, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, add);
}

void product(int M, int N, int K, const float* a, int64_t a_row, int64_t a_column, const float* b, int64_t b_row,
             float* c, int64_t c_row, bool add) {
  int j = 0;
  for (; j + 4 * kLanes <= N; j += 4 * kLanes)
    product_columns<4>(M, K, a, a_row, a_column, b + j, b_row, c + j, c_row, add);
  for (; j + 2 * kLanes <= N; j += 2 * kLanes)
    product_columns<2>(M, K, a, a_row, a_column, b + j, b_row, c + j, c_row, add);
  for (; j < N; j += kLanes) product_columns<1>(M, K, a, a_row, a_column, b + j, b_row, c + j, c_row, add);
}

// A large product with all threads: C = A B + bias. B element's address is b + row * b_row + column * b_column, the
// same for A and C; bias is (N,) or null. B is packed into panels of whole vectors, and each task makes a block of C
// from blocks of A and B that fit the cache (Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix
// Multiplication"). False if there is not enough memory.
struct Strides {
  int64_t row, column;
};

bool large_product(int M, int N, int K, const float* a, Strides a_at, const float* b, Strides b_at, const float* bias,
                   float* c, Strides c_at) {
  constexpr int kWidth = 4 * kLanes, kRows = 48, kInner = 384, kPanels = 12;
  const int panels = (N + kWidth - 1) / kWidth, groups = (panels + kPanels - 1) / kPanels;
  Buffer packed(static_cast<size_t>(panels) * K * kWidth);  // (panels, K, kWidth)
  if (packed == nullptr) return false;
  std::atomic<bool> missing(false);
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int p = 0; p < panels; ++p) {
      float* panel = packed + static_cast<size_t>(p) * K * kWidth;
      const int width = std::min(kWidth, N - p * kWidth);
      if (width < kWidth) std::fill(panel, panel + static_cast<size_t>(K) * kWidth, 0.0f);
      const float* from = b + p * kWidth * b_at.column;
      if (b_at.column == 1) {
        for (int k = 0; k < K; ++k) std::copy(from + k * b_at.row, from + k * b_at.row + width, panel + k * kWidth);
      } else {
        for (int j = 0; j < width; ++j)
          for (int k = 0; k < K; ++k) panel[k * kWidth + j] = from[k * b_at.row + j * b_at.column];
      }
    }
    Workspace workspace({kRows * kPanels * kWidth, kRows * kInner}, missing);
    float *block = workspace.array(0), *a_packed = workspace.array(1);
#pragma omp for collapse(2) schedule(static)
    for (int first = 0; first < M; first += kRows) {
      for (int group = 0; group < groups; ++group) {
        if (workspace.is_missing()) continue;
        const int rows = std::min(kRows, M - first), begin = group * kPanels;
        const int end = std::min(begin + kPanels, panels), row_length = (end - begin) * kWidth;
        for (int k0 = 0; k0 < K; k0 += kInner) {
          const int inner = std::min(kInner, K - k0);
          const float* a_block = a + first * a_at.row + k0 * a_at.column;
          int64_t a_row = a_at.row, a_column = a_at.column;
          if (a_column != 1) {  // elements of a row far apart: bring them together
            for (int k = 0; k < inner; ++k)
              for (int i = 0; i < rows; ++i) a_packed[k * kRows + i] = a_block[k * a_at.column + i * a_at.row];
            a_block = a_packed, a_row = 1, a_column = kRows;
          }
          for (int p = begin; p < end; ++p)
            product_columns<4>(rows, inner, a_block, a_row, a_column,
                               packed + (static_cast<size_t>(p) * K + k0) * kWidth, kWidth,
                               block + (p - begin) * kWidth, row_length, k0 > 0);
        }
        const int columns = std::min(N - begin * kWidth, row_length);
        for (int i = 0; i < rows; ++i) {
          const float* from = block + static_cast<size_t>(i) * row_length;
          float* to = c + (first + i) * c_at.row + begin * kWidth * c_at.column;
          for (int j = 0; j < columns; ++j) to[j * c_at.column] = from[j] + (bias ? bias[begin * kWidth + j] : 0);
        }
      }
    }
  }
  return !missing;
}

// --- Attention -----------------------------------------------------------------------------------------------
struct AttentionSizes {
  int B, Lq, Lk, H, d, C;
  int mask_rows;   // 1: one for all queries of a sample, or Lq
  int queries;     // taken at once
  int64_t dp, Lp;  // d and Lk, rounded up to whole vectors

  AttentionSizes(const Attributes& attributes, Tensors& inputs) {
    H = number(attributes, "num_heads");
    B = inputs[0].shape[0], Lq = inputs[0].shape[1], C = inputs[0].shape[2];
    Lk = inputs[1].shape[1], d = C / H;
    mask_rows = inputs[3].shape[1];
    queries = std::min(kQueries, Lq);
    dp = round_up(d), Lp = round_up(Lk);
  }

  // Where head h of sample b starts: in the rows (B, H, Lq), in the queries (B, Lq, C) and in the keys (B, Lk, C).
  struct Head {
    int64_t rows, queries, keys;
  };
  Head head(int64_t b, int h) const { return {(b * H + h) * Lq, b * Lq * C + h * d, b * Lk * C + h * d}; }
};

// One head's rows (L, d) of a (L, C) array, times `factor`, into (L, dp), filled up with zeros.
void copy_head(const float* x, int L, const AttentionSizes& s, float factor, float* out) {
  for (int i = 0; i < L; ++i) {
    for (int j = 0; j < s.d; ++j) out[i * s.dp + j] = x[static_cast<int64_t>(i) * s.C + j] * factor;
    std::fill(out + i * s.dp + s.d, out + (i + 1) * s.dp, 0.0f);
  }
}

// The same, transposed: (d, Lp).
void copy_head_transposed(const float* x, int L, const AttentionSizes& s, float* out) {
  for (int j = 0; j < s.d; ++j) std::fill(out + j * s.Lp + L, out + (j + 1) * s.Lp, 0.0f);
  for (int first = 0; first < L; first += kLanes) {  // squares, so that a cache line is written at once
    const int rows = std::min(kLanes, L - first);
    for (int j = 0; j < s.d; ++j)
      for (int i = 0; i < rows; ++i) out[j * s.Lp + first + i] = x[static_cast<int64_t>(first + i) * s.C + j];
  }
}

void store_head(const float* x, int L, const AttentionSizes& s, float* out) {
  for (int i = 0; i < L; ++i) std::copy(x + i * s.dp, x + i * s.dp + s.d, out + static_cast<int64_t>(i) * s.C);
}

// What the mask adds to one row of scores (Lp,): 0, kHiddenScore, or, past the last key, much less.
void mask_scores(const float* mask, const AttentionSizes& s, float* out) {
  for (int j = 0; j < s.Lk; ++j) out[j] = (1 - mask[j]) * kHiddenScore;
  std::fill(out + s.Lk, out + s.Lp, -1e30f);
}

// Turns a row of scores (n,) into attention weights times *sum; returns log(sum(exp(scores))).
float softmax_and_dropout(float* scores, const float* hidden, const float* factors, bool drop, int n, float* sum_out) {
  float top = -1e30f, sum = 0;
#pragma omp simd reduction(max : top)
  for (int j = 0; j < n; ++j) {
    scores[j] += hidden[j];
    top = scores[j] > top ? scores[j] : top;
  }
#pragma omp simd reduction(+ : sum)
  for (int j = 0; j < n; ++j) {
    scores[j] = exp_negative(scores[j] - top);
    sum += scores[j];
  }
  if (drop) {
#pragma omp simd
    for (int j = 0; j < n; ++j) scores[j] *= factors[j];
  }
  *sum_out = sum;
  return top + std::log(sum);
}

// From a row of scores and of gradients of the dropped-out weights, (n,) each, to the dropped-out weights and
// the gradients of the scores. dot: the sum of O dO.
void softmax_and_dropout_backward(float* scores, float* grads, const float* hidden, const float* factors,
                                  float log_sum, float dot, int n) {
#pragma omp simd
  for (int j = 0; j < n; ++j) {
    const float weight = exp_negative(scores[j] + hidden[j] - log_sum);
    grads[j] = weight * (grads[j] * factors[j] - dot);
    scores[j] = weight * factors[j];
  }
}

MXReturnValue attention_forward(const Attributes& attributes, Tensors* inputs, Tensors* outputs,
                                const OpResource& resource) {
  const AttentionSizes s(attributes, *inputs);
  const float *query = (*inputs)[0].data<float>(), *key = (*inputs)[1].data<float>(),
              *value = (*inputs)[2].data<float>(), *mask = (*inputs)[3].data<float>();
  float *context = (*outputs)[0].data<float>(), *log_sums = (*outputs)[1].data<float>();
  int32_t* seed = (*outputs)[2].data<int32_t>();
  const Dropout dropout = draw_dropout(attributes, (*inputs)[4].data<float>(), resource, seed);
  const float scale = 1 / std::sqrt(static_cast<float>(s.d));

  std::atomic<bool> missing(false);

#pragma omp parallel
  {
    Workspace workspace({s.Lq * s.dp, s.d * s.Lp, s.Lk * s.dp, s.queries * s.Lp, s.Lp, s.Lp, s.queries * s.dp},
                        missing);
    float *q = workspace.array(0), *kt = workspace.array(1), *v = workspace.array(2), *weights = workspace.array(3),
          *hidden = workspace.array(4), *factors = workspace.array(5), *out = workspace.array(6);
    float sums[kQueries];
#pragma omp for collapse(2) schedule(static)
    for (int b = 0; b < s.B; ++b) {
      for (int h = 0; h < s.H; ++h) {
        if (workspace.is_missing()) continue;
        const auto [rows_before, queries_at, keys_at] = s.head(b, h);
        copy_head(query + queries_at, s.Lq, s, scale, q);
        copy_head_transposed(key + keys_at, s.Lk, s, kt);
        copy_head(value + keys_at, s.Lk, s, 1, v);
        const float* sample_mask = mask + static_cast<int64_t>(b) * s.mask_rows * s.Lk;
        if (s.mask_rows == 1) mask_scores(sample_mask, s, hidden);
        for (int first = 0; first < s.Lq; first += kQueries) {
          const int rows = std::min(kQueries, s.Lq - first);
          product(rows, s.Lp, s.d, q + first * s.dp, s.dp, 1, kt, s.Lp, weights, s.Lp, false);
          for (int i = 0; i < rows; ++i) {
            if (s.mask_rows > 1) mask_scores(sample_mask + static_cast<int64_t>(first + i) * s.Lk, s, hidden);
            const int64_t row = rows_before + first + i;
            if (dropout.active) dropout.factors(row, s.Lp, factors);
            log_sums[row] = softmax_and_dropout(weights + i * s.Lp, hidden, factors, dropout.active, s.Lp, &sums[i]);
          }
          product(rows, s.dp, s.Lk, weights, s.Lp, 1, v, s.dp, out, s.dp, false);
          for (int i = 0; i < rows; ++i)
            for (int j = 0; j < s.d; ++j) out[i * s.dp + j] /= sums[i];
          store_head(out, rows, s, context + queries_at + static_cast<int64_t>(first) * s.C);
        }
      }
    }
  }
  return missing ? no_memory() : MX_SUCCESS;
}

// With W = softmax(S), W' = dropout(W), O = W' V:
//   dV = W'^T dO,  dW = dropout(dO V^T),  dS = W (dW - row sums of W dW) = W (dW - row sums of O dO)
MXReturnValue attention_backward(const Attributes& attributes, Tensors* inputs, Tensors* outputs,
                                 const OpResource&) {
  Tensors& in = *inputs;  // 3 gradients of the outputs, 5 inputs, 3 outputs
  Tensors arguments(in.begin() + 3, in.begin() + 8);
  const AttentionSizes s(attributes, arguments);
  const float *grad = in[0].data<float>(), *query = in[3].data<float>(), *key = in[4].data<float>(),
              *value = in[5].data<float>(), *mask = in[6].data<float>(), *context = in[8].data<float>(),
              *log_sums = in[9].data<float>();
  const Dropout dropout(attributes, in[7].data<float>(), *in[10].data<int32_t>());
  float *query_grad = (*outputs)[0].data<float>(), *key_grad = (*outputs)[1].data<float>(),
        *value_grad = (*outputs)[2].data<float>();
  const float scale = 1 / std::sqrt(static_cast<float>(s.d));

  std::atomic<bool> missing(false);

#pragma omp parallel
  {
    Workspace workspace({s.Lq * s.dp, s.Lk * s.dp, s.d * s.Lp, s.d * s.Lp, s.queries * s.dp, s.queries * s.Lp,
                         s.queries * s.Lp, s.Lp, s.Lp, s.queries * s.dp, s.Lk * s.dp, s.Lk * s.dp},
                        missing);
    float *q = workspace.array(0), *k = workspace.array(1), *kt = workspace.array(2), *vt = workspace.array(3),
          *go = workspace.array(4), *weights = workspace.array(5), *score_grads = workspace.array(6),
          *hidden = workspace.array(7), *factors = workspace.array(8), *gq = workspace.array(9),
          *gk = workspace.array(10), *gv = workspace.array(11);
#pragma omp for collapse(2) schedule(static)
    for (int b = 0; b < s.B; ++b) {
      for (int h = 0; h < s.H; ++h) {
        if (workspace.is_missing()) continue;
        const auto [rows_before, queries_at, keys_at] = s.head(b, h);
        copy_head(query + queries_at, s.Lq, s, scale, q);
        copy_head(key + keys_at, s.Lk, s, 1, k);
        copy_head_transposed(key + keys_at, s.Lk, s, kt);
        copy_head_transposed(value + keys_at, s.Lk, s, vt);
        std::fill(gk, gk + s.Lk * s.dp, 0.0f);
        std::fill(gv, gv + s.Lk * s.dp, 0.0f);
        const float* sample_mask = mask + static_cast<int64_t>(b) * s.mask_rows * s.Lk;
        if (s.mask_rows == 1) mask_scores(sample_mask, s, hidden);
        for (int first = 0; first < s.Lq; first += kQueries) {
          const int rows = std::min(kQueries, s.Lq - first);
          const int64_t rows_at = queries_at + static_cast<int64_t>(first) * s.C;
          copy_head(grad + rows_at, rows, s, 1, go);
          product(rows, s.Lp, s.d, q + first * s.dp, s.dp, 1, kt, s.Lp, weights, s.Lp, false);
          product(rows, s.Lp, s.d, go, s.dp, 1, vt, s.Lp, score_grads, s.Lp, false);
          for (int i = 0; i < rows; ++i) {
            if (s.mask_rows > 1) mask_scores(sample_mask + static_cast<int64_t>(first + i) * s.Lk, s, hidden);
            const int64_t row = rows_before + first + i;
            const float* grad_row = grad + rows_at + static_cast<int64_t>(i) * s.C;
            const float* context_row = context + rows_at + static_cast<int64_t>(i) * s.C;
            float dot = 0;
            for (int j = 0; j < s.d; ++j) dot += grad_row[j] * context_row[j];
            dropout.factors(row, s.Lp, factors);
            softmax_and_dropout_backward(weights + i * s.Lp, score_grads + i * s.Lp, hidden, factors, log_sums[row],
                                         dot, s.Lp);
          }
          product(s.Lk, s.dp, rows, weights, 1, s.Lp, go, s.dp, gv, s.dp, true);
          product(s.Lk, s.dp, rows, score_grads, 1, s.Lp, q + first * s.dp, s.dp, gk, s.dp, true);
          product(rows, s.dp, s.Lk, score_grads, s.Lp, 1, k, s.dp, gq, s.dp, false);
          for (int i = 0; i < rows * s.dp; ++i) gq[i] *= scale;
          store_head(gq, rows, s, query_grad + rows_at);
        }
        store_head(gk, s.Lk, s, key_grad + keys_at);
        store_head(gv, s.Lk, s, value_grad + keys_at);
      }
    }
  }
  return missing ? no_memory() : MX_SUCCESS;
}

// --- LayerNorm(X + dropout(Y)) -------------------------------------------------------------------------------
// One row (n,): its sum S = X + dropout(Y), then LayerNorm. Returns nothing but what the gradient needs.
struct RowStatistics {
  float mean, rstd;
};

RowStatistics norm_row(const float* x, const float* y, const float* factors, const float* gamma, const float* beta,
                       float epsilon, int n, float* sums, float* out) {
  float mean = 0, variance = 0;
#pragma omp simd reduction(+ : mean)
  for (int j = 0; j < n; ++j) {
    sums[j] = x[j] + y[j] * factors[j];
    mean += sums[j];
  }
  mean /= n;
#pragma omp simd reduction(+ : variance)
  for (int j = 0; j < n; ++j) variance += (sums[j] - mean) * (sums[j] - mean);
  const float rstd = 1 / std::sqrt(variance / n + epsilon);
#pragma omp simd
  for (int j = 0; j < n; ++j) out[j] = (sums[j] - mean) * rstd * gamma[j] + beta[j];
  return {mean, rstd};
}

// With N = (S - mean) rstd: dS = rstd (g - mean(g) - N mean(g N)) where g = gamma dOut; dX = dS, dY = dropout(dS).
void norm_row_backward(const float* grad, const float* x, const float* y, const float* factors, const float* gamma,
                       RowStatistics row, int n, float* normed, float* x_grad, float* y_grad, float* gamma_grad,
                       float* beta_grad) {
  float sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
  for (int j = 0; j < n; ++j) {
    normed[j] = (x[j] + y[j] * factors[j] - row.mean) * row.rstd;
    sum += grad[j] * gamma[j];
    dot += grad[j] * gamma[j] * normed[j];
    gamma_grad[j] += grad[j] * normed[j];
    beta_grad[j] += grad[j];
  }
  sum /= n;
  dot /= n;
#pragma omp simd
  for (int j = 0; j < n; ++j) {
    x_grad[j] = row.rstd * (grad[j] * gamma[j] - sum - normed[j] * dot);
    y_grad[j] = x_grad[j] * factors[j];
  }
}

MXReturnValue add_norm_forward(const Attributes& attributes, Tensors* inputs, Tensors* outputs,
                               const OpResource& resource) {
  const int C = (*inputs)[0].shape.back();
  const int64_t rows = (*inputs)[0].size() / C;
  const float *x = (*inputs)[0].data<float>(), *y = (*inputs)[1].data<float>(), *gamma = (*inputs)[2].data<float>(),
              *beta = (*inputs)[3].data<float>();
  float* out = (*outputs)[0].data<float>();
  RowStatistics* stats = (*outputs)[1].data<RowStatistics>();
  int32_t* seed = (*outputs)[2].data<int32_t>();
  const Dropout dropout = draw_dropout(attributes, (*inputs)[4].data<float>(), resource, seed);
  const float epsilon = number(attributes, "epsilon");

  std::atomic<bool> missing(false);

#pragma omp parallel
  {
    Workspace workspace({C, C}, missing);
    float *factors = workspace.array(0), *sums = workspace.array(1);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < rows; ++i) {
      if (workspace.is_missing()) continue;
      dropout.factors(i, C, factors);
      stats[i] = norm_row(x + i * C, y + i * C, factors, gamma, beta, epsilon, C, sums, out + i * C);
    }
  }
  return missing ? no_memory() : MX_SUCCESS;
}

MXReturnValue add_norm_backward(const Attributes& attributes, Tensors* inputs, Tensors* outputs,
                                const OpResource&) {
  Tensors& in = *inputs;  // 3 gradients of the outputs, 5 inputs, 3 outputs
  const int C = in[0].shape.back();
  const int64_t rows = in[0].size() / C;
  const float *grad = in[0].data<float>(), *x = in[3].data<float>(), *y = in[4].data<float>(),
              *gamma = in[5].data<float>();
  const RowStatistics* stats = in[9].data<RowStatistics>();
  const Dropout dropout(attributes, in[7].data<float>(), *in[10].data<int32_t>());
  float *x_grad = (*outputs)[0].data<float>(), *y_grad = (*outputs)[1].data<float>(),
        *gamma_grad = (*outputs)[2].data<float>(), *beta_grad = (*outputs)[3].data<float>();
  const int threads = omp_get_max_threads();
  const size_t sums = static_cast<size_t>(threads) * 2 * C;
  Buffer partial(sums);  // each thread's sums over its rows, added up in order
  if (partial == nullptr) return no_memory();
  std::fill_n(static_cast<float*>(partial), sums, 0.0f);
  std::atomic<bool> missing(false);

#pragma omp parallel
  {
    Workspace workspace({C, C}, missing);
    float *factors = workspace.array(0), *normed = workspace.array(1);
    float* gamma_sum = partial + static_cast<size_t>(omp_get_thread_num()) * 2 * C;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < rows; ++i) {
      if (workspace.is_missing()) continue;
      dropout.factors(i, C, factors);
      norm_row_backward(grad + i * C, x + i * C, y + i * C, factors, gamma, stats[i], C, normed, x_grad + i * C,
                        y_grad + i * C, gamma_sum, gamma_sum + C);
    }
  }
  for (int j = 0; j < C; ++j) {
    gamma_grad[j] = beta_grad[j] = 0;
    for (int t = 0; t < threads; ++t) {
      gamma_grad[j] += partial[static_cast<size_t>(t) * 2 * C + j];
      beta_grad[j] += partial[static_cast<size_t>(t) * 2 * C + C + j];
    }
  }
  return missing ? no_memory() : MX_SUCCESS;
}

// --- GELU ----------------------------------------------------------------------------------------------------
// The normal distribution function of x, and e^(-x^2 / 2), which it needs and the derivative too.
// Error 7.5e-8: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
inline float normal_cdf(float x, float* exponential) {
  *exponential = exp_negative(-0.5f * x * x);
  const float t = 1 / (1 + 0.3275911f * 0.70710678f * std::fabs(x));
  const float tail = 0.5f * *exponential * t *
                     (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  return x < 0 ? tail : 1 - tail;
}

MXReturnValue gelu_forward(const Attributes&, Tensors* inputs, Tensors* outputs, const OpResource&) {
  const float* x = (*inputs)[0].data<float>();
  float* y = (*outputs)[0].data<float>();
  const int64_t size = (*inputs)[0].size();
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < size; ++i) {
    float exponential;
    y[i] = x[i] * normal_cdf(x[i], &exponential);
  }
  return MX_SUCCESS;
}

MXReturnValue gelu_backward(const Attributes&, Tensors* inputs, Tensors* outputs, const OpResource&) {
  const float *grad = (*inputs)[0].data<float>(), *x = (*inputs)[1].data<float>();
  float* x_grad = (*outputs)[0].data<float>();
  const int64_t size = (*inputs)[1].size();
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < size; ++i) {
    float exponential;
    const float cdf = normal_cdf(x[i], &exponential);
    x_grad[i] = grad[i] * (cdf + x[i] * exponential * 0.39894228f);
  }
  return MX_SUCCESS;
}

// --- Dense layer ---------------------------------------------------------------------------------------------
// Y (M, N) = X (M, K) W^T + b, W (N, K)
MXReturnValue dense_forward(const Attributes&, Tensors* inputs, Tensors* outputs, const OpResource&) {
  const int N = (*inputs)[1].shape[0], K = (*inputs)[1].shape[1];
  const int M = (*inputs)[0].size() / K;
  const bool done = large_product(M, N, K, (*inputs)[0].data<float>(), {K, 1}, (*inputs)[1].data<float>(), {1, K},
                                  (*inputs)[2].data<float>(), (*outputs)[0].data<float>(), {N, 1});
  return done ? MX_SUCCESS : no_memory();
}

// dX = dY W,  dW^T = X^T dY,  db = column sums of dY
MXReturnValue dense_backward(const Attributes&, Tensors* inputs, Tensors* outputs, const OpResource&) {
  const int N = (*inputs)[2].shape[0], K = (*inputs)[2].shape[1];
  const int M = (*inputs)[1].size() / K;
  const float *grad = (*inputs)[0].data<float>(), *x = (*inputs)[1].data<float>(), *w = (*inputs)[2].data<float>();
  if (!large_product(M, K, N, grad, {N, 1}, w, {K, 1}, nullptr, (*outputs)[0].data<float>(), {K, 1}) ||
      !large_product(K, N, M, x, {1, K}, grad, {N, 1}, nullptr, (*outputs)[1].data<float>(), {1, K}))
    return no_memory();
  float* bias_grad = (*outputs)[2].data<float>();
#pragma omp parallel for schedule(static)
  for (int first = 0; first < N; first += kLanes) {
    const int last = std::min(first + kLanes, N);
    float sums[kLanes] = {};
    for (int i = 0; i < M; ++i)
      for (int j = first; j < last; ++j) sums[j - first] += grad[static_cast<int64_t>(i) * N + j];
    std::copy(sums, sums + last - first, bias_grad + first);
  }
  return MX_SUCCESS;
}

// --- int8 ----------------------------------------------------------------------------------------------------
// Each row of X (rows, C) as integers from -127 to 127 and one scale: X = scale Q. Outputs: Q, scales (rows,).
// An integer cannot say that it is no finite number: the row's scale says it, NaN.
MXReturnValue quantize_rows_forward(const Attributes&, Tensors* inputs, Tensors* outputs, const OpResource&) {
  const int C = (*inputs)[0].shape.back();
  const int64_t rows = (*inputs)[0].size() / C;
  const float* x = (*inputs)[0].data<float>();
  int8_t* q = (*outputs)[0].data<int8_t>();
  float* scales = (*outputs)[1].data<float>();
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; ++i) {
    const float* row = x + i * C;
    int8_t* out = q + i * C;
    float largest = 1e-30f, not_finite = 0;  // 0 times infinity or NaN is NaN
#pragma omp simd reduction(max : largest) reduction(+ : not_finite)
    for (int j = 0; j < C; ++j) {
      largest = std::max(largest, std::fabs(row[j]));
      not_finite += 0 * row[j];
    }
    scales[i] = largest / 127 + not_finite;
    if (not_finite != 0) {
      std::fill_n(out, C, 0);
      continue;
    }
    const float factor = 127 / largest;
#pragma omp simd
    for (int j = 0; j < C; ++j) out[j] = static_cast<int8_t>(static_cast<int>(std::nearbyint(row[j] * factor)));
  }
  return MX_SUCCESS;
}

// From the integer product (rows, N), the scales of its rows and columns, and a bias (N,) to floats.
MXReturnValue dequantize_forward(const Attributes&, Tensors* inputs, Tensors* outputs, const OpResource&) {
  const int N = (*inputs)[0].shape.back();
  const int64_t rows = (*inputs)[0].size() / N;
  const int32_t* sums = (*inputs)[0].data<int32_t>();
  const float *row_scales = (*inputs)[1].data<float>(), *column_scales = (*inputs)[2].data<float>(),
              *bias = (*inputs)[3].data<float>();
  float* out = (*outputs)[0].data<float>();
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; ++i) {
    const float scale = row_scales[i];
#pragma omp simd
    for (int j = 0; j < N; ++j) out[i * N + j] = sums[i * N + j] * (scale * column_scales[j]) + bias[j];
  }
  return MX_SUCCESS;
}

unsigned int num_rows(const std::vector<unsigned int>& shape) {
  unsigned int rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

MXReturnValue quantize_rows_type(const Attributes&, std::vector<int>* inputs, std::vector<int>* outputs) {
  inputs->at(0) = mxnet::ext::kFloat32;
  outputs->at(0) = mxnet::ext::kInt8;
  outputs->at(1) = mxnet::ext::kFloat32;
  return MX_SUCCESS;
}

MXReturnValue dequantize_type(const Attributes&, std::vector<int>* inputs, std::vector<int>* outputs) {
  std::fill(inputs->begin(), inputs->end(), static_cast<int>(mxnet::ext::kFloat32));
  inputs->at(0) = mxnet::ext::kInt32;
  outputs->at(0) = mxnet::ext::kFloat32;
  return MX_SUCCESS;
}

MXReturnValue quantize_rows_shape(const Attributes&, Shapes* inputs, Shapes* outputs) {
  const auto& x = inputs->at(0);
  if (x.empty() || x.back() == 0) return fail("bert_quantize_rows takes X (..., C)");
  outputs->at(0) = x;
  outputs->at(1) = {num_rows(x)};
  return MX_SUCCESS;
}

MXReturnValue dequantize_shape(const Attributes&, Shapes* inputs, Shapes* outputs) {
  const auto& product = inputs->at(0);
  if (product.empty() || product.back() == 0) return fail("bert_dequantize takes a product (..., N)");
  inputs->at(1) = {num_rows(product)};
  inputs->at(2) = inputs->at(3) = {product.back()};
  outputs->at(0) = product;
  return MX_SUCCESS;
}

// --- What MXNet asks of each operator ------------------------------------------------------------------------
template <int kInputs, int kOutputs>
MXReturnValue parse(const Attributes&, int* num_inputs, int* num_outputs) {
  *num_inputs = kInputs;
  *num_outputs = kOutputs;
  return MX_SUCCESS;
}

// Inputs and first outputs float32; the third output, if there is one, is the seed of the dropout.
MXReturnValue infer_type(const Attributes&, std::vector<int>* inputs, std::vector<int>* outputs) {
  for (int type : *inputs) {
    if (type != mxnet::ext::kFloat32 && type != -1)
      return fail("BERT's own operators take float32 only; BERT_TUTORIAL_OPERATORS=plain takes other types");
  }
  std::fill(inputs->begin(), inputs->end(), static_cast<int>(mxnet::ext::kFloat32));
  std::fill(outputs->begin(), outputs->end(), static_cast<int>(mxnet::ext::kFloat32));
  if (outputs->size() == 3) outputs->back() = mxnet::ext::kInt32;
  return MX_SUCCESS;
}

bool is_probability(double p) { return p >= 0 && p < 1; }

MXReturnValue attention_shape(const Attributes& attributes, Shapes* inputs, Shapes* outputs) {
  const auto &query = inputs->at(0), &key = inputs->at(1), &value = inputs->at(2), &mask = inputs->at(3);
  const double heads = number(attributes, "num_heads");
  if (query.size() != 3 || key.size() != 3 || key != value || query[0] != key[0] || query[2] != key[2])
    return fail("attention takes a query (B, Lq, C), a key and a value (B, Lk, C)");
  if (mask.size() != 3 || mask[0] != key[0] || (mask[1] != 1 && mask[1] != query[1]) || mask[2] != key[1])
    return fail("attention takes a mask (B, 1 or Lq, Lk)");
  if (!(heads >= 1) || std::fmod(query[2], heads) != 0)
    return fail("attention takes num_heads, a divisor of C = " + std::to_string(query[2]));
  if (!is_probability(number(attributes, "dropout"))) return fail("attention takes a dropout from 0 to below 1");
  inputs->at(4) = {1};
  outputs->at(0) = query;
  outputs->at(1) = {query[0], static_cast<unsigned int>(heads), query[1]};
  outputs->at(2) = {1};
  return MX_SUCCESS;
}

MXReturnValue add_norm_shape(const Attributes& attributes, Shapes* inputs, Shapes* outputs) {
  const auto& x = inputs->at(0);
  if (x.empty() || x.back() == 0 || x != inputs->at(1)) return fail("AddNorm takes X and Y of the same shape");
  if (!is_probability(number(attributes, "dropout"))) return fail("AddNorm takes a dropout from 0 to below 1");
  if (!(number(attributes, "epsilon") >= 0)) return fail("AddNorm takes an epsilon, 0 or more");
  inputs->at(2) = inputs->at(3) = {x.back()};
  inputs->at(4) = {1};
  outputs->at(0) = x;
  outputs->at(1) = {num_rows(x), 2};
  outputs->at(2) = {1};
  return MX_SUCCESS;
}

MXReturnValue gelu_shape(const Attributes&, Shapes* inputs, Shapes* outputs) {
  outputs->at(0) = inputs->at(0);
  return MX_SUCCESS;
}

MXReturnValue dense_shape(const Attributes&, Shapes* inputs, Shapes* outputs) {
  const auto &x = inputs->at(0), &w = inputs->at(1);
  if (x.empty() || w.size() != 2 || x.back() != w[1] || w[1] == 0)
    return fail("a dense layer takes X (..., K) and W (N, K)");
  inputs->at(2) = {w[0]};
  outputs->at(0) = x;
  outputs->at(0).back() = w[0];
  return MX_SUCCESS;
}

}  // namespace

REGISTER_OP(bert_attention)
    .setForward(attention_forward, "cpu")
    .setBackward(attention_backward, "cpu")
    .setParseAttrs(parse<5, 3>)
    .setInferType(infer_type)
    .setInferShape(attention_shape);

REGISTER_OP(bert_add_norm)
    .setForward(add_norm_forward, "cpu")
    .setBackward(add_norm_backward, "cpu")
    .setParseAttrs(parse<5, 3>)
    .setInferType(infer_type)
    .setInferShape(add_norm_shape);

REGISTER_OP(bert_gelu)
    .setForward(gelu_forward, "cpu")
    .setBackward(gelu_backward, "cpu")
    .setParseAttrs(parse<1, 1>)
    .setInferType(infer_type)
    .setInferShape(gelu_shape);

REGISTER_OP(bert_dense)
    .setForward(dense_forward, "cpu")
    .setBackward(dense_backward, "cpu")
    .setParseAttrs(parse<3, 1>)
    .setInferType(infer_type)
    .setInferShape(dense_shape);

REGISTER_OP(bert_quantize_rows)
    .setForward(quantize_rows_forward, "cpu")
    .setParseAttrs(parse<1, 2>)
    .setInferType(quantize_rows_type)
    .setInferShape(quantize_rows_shape);

REGISTER_OP(bert_dequantize)
    .setForward(dequantize_forward, "cpu")
    .setParseAttrs(parse<4, 1>)
    .setInferType(dequantize_type)
    .setInferShape(dequantize_shape);

MXReturnValue initialize(int version) {
  return version < 10900 ? fail("MXNet 1.9 or newer is needed") : MX_SUCCESS;
}
