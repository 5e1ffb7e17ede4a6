/* The inner loop of `heldout filter`: canonical key -> SHA-256 -> position in the exclusion list, and the hosts and
 * folders that cover it, over Arrow buffers.
 *
 * The reference is heldout/urls.py ("heldout-url/1", docs/formats/url-canonicalisation.md). This file takes the *plain*
 * addresses: an ordinary host, and a path and query of which every byte is either kept or percent-encoded; these are
 * nearly all in real data sets. Everything it is not sure of (odd ports, credentials, dot segments, hosts that are numeric,
 * non-ASCII or punycode, backslashes, control characters, bytes that are no UTF-8) it hands back with status
 * NEEDS_REFERENCE. So it can be slower than hoped, but it cannot disagree: that is its whole contract, and
 * tests/heldout/test_kernel.py holds both against each other on vectors and on fuzzed input.
 *
 * It reads hostile bytes: every index is checked against the length given, nothing is allocated per row, and the only
 * buffer written besides the caller's is a fixed arena of the thread's.
 *
 * Keys are made, hashed and matched some hundred at a time. SHA-256 is FIPS 180-4. On x86 with the SHA extensions two
 * messages are hashed at a time, since one alone waits on the latency of its own rounds; with AVX-512 sixteen, and bytes
 * are told apart 64 at a time. Which of these there are is found out at import; the portable code gives the same.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if (defined(__x86_64__) || defined(_M_X64)) && (defined(__GNUC__) || defined(__clang__))
#define HAVE_X86 1
#include <cpuid.h>
#include <immintrin.h>
#endif

#if defined(__GNUC__) || defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
#define lowest_bit(bits) ((size_t)__builtin_ctzll(bits))
#else
#define INLINE static inline
static inline size_t lowest_bit(uint64_t bits)
{
    size_t i = 0;
    while (!(bits >> i & 1)) i++;
    return i;
}
#endif

enum { DONE = 0, NEEDS_REFERENCE = 1, IS_NULL = 2 };

#define INTERFACE 3 /* what heldout/kernel.py asks for: an older build left in a checkout is not used */

#define MAX_PLAIN 4096 /* bytes of an address; longer ones are rare enough for the reference */
#define MAX_KEY (3 * MAX_PLAIN) /* bytes of its key, were every byte percent-encoded; far below the reference's limit */

/* ---- SHA-256 ---------------------------------------------------------------------------------------------------- */

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
static const uint32_t H0[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static inline uint32_t rotr(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static void sha256_block(uint32_t h[8], const uint8_t *p)
{
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
        uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    memcpy(v, h, sizeof v);
    for (int r = 0; r < 64; r += 8) {
        /* Unrolled, the eight variables, which move on by one each round, have their places settled. */
#if defined(__GNUC__)
#pragma GCC unroll 8
#endif
        for (int i = 0; i < 8; i++) {
#define V(k) v[((k) - i) & 7]
            uint32_t s1 = rotr(V(4), 6) ^ rotr(V(4), 11) ^ rotr(V(4), 25);
            uint32_t t1 = V(7) + s1 + ((V(4) & V(5)) ^ (~V(4) & V(6))) + K[r + i] + w[r + i];
            uint32_t s0 = rotr(V(0), 2) ^ rotr(V(0), 13) ^ rotr(V(0), 22);
            V(3) += t1;
            V(7) = t1 + s0 + ((V(0) & V(1)) ^ (V(0) & V(2)) ^ (V(1) & V(2)));
#undef V
        }
    }
    for (int i = 0; i < 8; i++) h[i] += v[i];
}

#define SLACK 128 /* bytes that may be written behind a key: its padding, or the rest of a vector */

typedef struct {
    uint8_t *bytes;  /* a key, padded; room for MAX_KEY + SLACK */
    uint64_t dots;   /* where its host has some: bit i for byte i; of hosts of up to 64 bytes */
    size_t length;   /* of the key */
    size_t n_host;   /* of its host, where the key has no port */
    size_t n_blocks; /* 64-byte blocks after padding */
    Py_ssize_t row;
} message;

static void pad(message *m)
{
    uint64_t bits = (uint64_t)m->length * 8;
    m->n_blocks = (m->length + 9 + 63) / 64;
    size_t end = m->n_blocks * 64;
    memset(m->bytes + m->length, 0, 72); /* the most there is to fill: a length known here costs no call */
    m->bytes[m->length] = 0x80;
    for (int i = 0; i < 8; i++) m->bytes[end - 1 - i] = (uint8_t)(bits >> (8 * i));
}

static uint64_t first64_portable(const message *m)
{
    uint32_t h[8];
    memcpy(h, H0, sizeof h);
    for (size_t b = 0; b < m->n_blocks; b++) sha256_block(h, m->bytes + 64 * b);
    return (uint64_t)h[0] << 32 | h[1];
}

#ifdef HAVE_X86
static int has_sha_x86(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 19)) || !(c & (1u << 9))) return 0; /* SSE4.1, SSSE3 */
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29));
}

#define TARGET_SHA __attribute__((target("sha,sse4.1,ssse3")))

/* State words in the order the instructions want: ABEF and CDGH. */
typedef struct { __m128i abef, cdgh; } state;

TARGET_SHA static inline state initial(void)
{
    state s;
    s.abef = _mm_set_epi32((int)H0[0], (int)H0[1], (int)H0[4], (int)H0[5]);
    s.cdgh = _mm_set_epi32((int)H0[2], (int)H0[3], (int)H0[6], (int)H0[7]);
    return s;
}

TARGET_SHA static inline uint64_t first64(state s)
{
    uint32_t a = (uint32_t)_mm_extract_epi32(s.abef, 3), b = (uint32_t)_mm_extract_epi32(s.abef, 2);
    return (uint64_t)a << 32 | b;
}

/* `lanes` independent blocks at once; with lanes a constant the loops unroll. */
TARGET_SHA static inline __attribute__((always_inline)) void
blocks_x86(state *s, const uint8_t *const *p, const int lanes)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i w[2][4];
    state before[2];
    for (int l = 0; l < lanes; l++) {
        before[l] = s[l];
        for (int i = 0; i < 4; i++)
            w[l][i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p[l] + 16 * i)), swap);
    }
    for (int r = 0; r < 16; r++) {
        const __m128i k = _mm_loadu_si128((const __m128i *)(K + 4 * r));
        for (int l = 0; l < lanes; l++) {
            __m128i *v = w[l];
            if (r >= 4) { /* W[r] from W[r-4], W[r-3], W[r-2], W[r-1], kept in a ring of four */
                __m128i t = _mm_sha256msg1_epu32(v[r & 3], v[(r + 1) & 3]);
                t = _mm_add_epi32(t, _mm_alignr_epi8(v[(r + 3) & 3], v[(r + 2) & 3], 4));
                v[r & 3] = _mm_sha256msg2_epu32(t, v[(r + 3) & 3]);
            }
            __m128i m = _mm_add_epi32(v[r & 3], k);
            s[l].cdgh = _mm_sha256rnds2_epu32(s[l].cdgh, s[l].abef, m);
            s[l].abef = _mm_sha256rnds2_epu32(s[l].abef, s[l].cdgh, _mm_shuffle_epi32(m, 0x0E));
        }
    }
    for (int l = 0; l < lanes; l++) {
        s[l].abef = _mm_add_epi32(s[l].abef, before[l].abef);
        s[l].cdgh = _mm_add_epi32(s[l].cdgh, before[l].cdgh);
    }
}

TARGET_SHA static void hash_x86(const message *a, const message *b, uint64_t *out)
{
    state s[2] = {initial(), initial()};
    size_t i = 0, both = b && b->n_blocks < a->n_blocks ? b->n_blocks : (b ? a->n_blocks : 0);
    for (; i < both; i++) {
        const uint8_t *p[2] = {a->bytes + 64 * i, b->bytes + 64 * i};
        blocks_x86(s, p, 2);
    }
    for (size_t j = i; j < a->n_blocks; j++) {
        const uint8_t *p[1] = {a->bytes + 64 * j};
        blocks_x86(s, p, 1);
    }
    out[a->row] = first64(s[0]);
    if (!b) return;
    for (size_t j = i; j < b->n_blocks; j++) {
        const uint8_t *p[1] = {b->bytes + 64 * j};
        blocks_x86(s + 1, p, 1);
    }
    out[b->row] = first64(s[1]);
}
#endif

static int use_sha_x86, use_wide; /* set at import */

static void hash_pair(const message *a, const message *b, uint64_t *out)
{
#ifdef HAVE_X86
    if (use_sha_x86) {
        hash_x86(a, b, out);
        return;
    }
#endif
    out[a->row] = first64_portable(a);
    if (b) out[b->row] = first64_portable(b);
}

#define LANES 16
#define MAX_WIDE_BLOCKS 8 /* longer keys are rare */

#ifdef HAVE_X86
static int has_wide(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi2");
}

#define TARGET_WIDE __attribute__((target("avx512f,avx512bw,bmi,bmi2")))

/* Word i of lane l from word l of lane i. */
TARGET_WIDE static inline void transpose(__m512i w[LANES])
{
    __m512i u[LANES];
    for (int q = 0; q < LANES; q += 4) { /* 4 x 4 words */
        __m512i low = _mm512_unpacklo_epi32(w[q], w[q + 1]), high = _mm512_unpackhi_epi32(w[q], w[q + 1]);
        __m512i low2 = _mm512_unpacklo_epi32(w[q + 2], w[q + 3]), high2 = _mm512_unpackhi_epi32(w[q + 2], w[q + 3]);
        u[q] = _mm512_unpacklo_epi64(low, low2);
        u[q + 1] = _mm512_unpackhi_epi64(low, low2);
        u[q + 2] = _mm512_unpacklo_epi64(high, high2);
        u[q + 3] = _mm512_unpackhi_epi64(high, high2);
    }
    for (int j = 0; j < 4; j++) { /* 4 x 4 of those */
        __m512i even = _mm512_shuffle_i32x4(u[j], u[j + 4], 0x88), odd = _mm512_shuffle_i32x4(u[j], u[j + 4], 0xdd);
        __m512i even2 = _mm512_shuffle_i32x4(u[j + 8], u[j + 12], 0x88);
        __m512i odd2 = _mm512_shuffle_i32x4(u[j + 8], u[j + 12], 0xdd);
        w[j] = _mm512_shuffle_i32x4(even, even2, 0x88);
        w[j + 4] = _mm512_shuffle_i32x4(odd, odd2, 0x88);
        w[j + 8] = _mm512_shuffle_i32x4(even, even2, 0xdd);
        w[j + 12] = _mm512_shuffle_i32x4(odd, odd2, 0xdd);
    }
}

/* Three-operand logic by its truth table. */
#define XOR3(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0x96)
#define CHOOSE(e, f, g) _mm512_ternarylogic_epi32(e, f, g, 0xca)
#define MAJORITY(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0xe8)
#define ADD _mm512_add_epi32
#define ROTR _mm512_ror_epi32

/* Digests of n messages, 1 to LANES, as many lanes of each register. A message that is shorter than the longest stands
 * still for the rest. */
TARGET_WIDE static void hash_wide(const message *const *messages, int n, uint64_t *out)
{
    const __m512i swap = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL));
    const message *lane[LANES];
    uint32_t n_blocks[LANES], first[LANES], second[LANES], most = 0;
    __m512i h[8], v[8], w[LANES];
    for (int l = 0; l < LANES; l++) {
        lane[l] = messages[l < n ? l : 0];
        n_blocks[l] = (uint32_t)lane[l]->n_blocks;
        if (n_blocks[l] > most) most = n_blocks[l];
    }
    for (int k = 0; k < 8; k++) h[k] = _mm512_set1_epi32((int)H0[k]);
    for (uint32_t block = 0; block < most; block++) {
        for (int l = 0; l < LANES; l++) {
            const uint32_t at = block < n_blocks[l] ? block : n_blocks[l] - 1;
            w[l] = _mm512_shuffle_epi8(_mm512_loadu_si512(lane[l]->bytes + 64 * (size_t)at), swap);
        }
        transpose(w);
        for (int k = 0; k < 8; k++) v[k] = h[k];
        for (int turn = 0; turn < 4; turn++) {
            /* Unrolled, so that what stands where is settled here: the eight variables move on by one each round. */
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) {
#define V(k) v[((k) - i) & 7]
                if (turn) {
                    const __m512i near = w[(i + 1) & 15], far = w[(i + 14) & 15];
                    w[i] = ADD(ADD(w[i], w[(i + 9) & 15]),
                               ADD(XOR3(ROTR(near, 7), ROTR(near, 18), _mm512_srli_epi32(near, 3)),
                                   XOR3(ROTR(far, 17), ROTR(far, 19), _mm512_srli_epi32(far, 10))));
                }
                const __m512i e = V(4), a = V(0);
                const __m512i given = ADD(ADD(V(7), w[i]), _mm512_set1_epi32((int)K[16 * turn + i]));
                const __m512i t1 = ADD(ADD(given, CHOOSE(e, V(5), V(6))), XOR3(ROTR(e, 6), ROTR(e, 11), ROTR(e, 25)));
                const __m512i t2 = ADD(MAJORITY(a, V(1), V(2)), XOR3(ROTR(a, 2), ROTR(a, 13), ROTR(a, 22)));
                V(3) = ADD(V(3), t1);
                V(7) = ADD(t1, t2);
#undef V
            }
        }
        const __mmask16 going_on =
            _mm512_cmpgt_epu32_mask(_mm512_loadu_si512(n_blocks), _mm512_set1_epi32((int)block));
        for (int k = 0; k < 8; k++) h[k] = _mm512_mask_add_epi32(h[k], going_on, h[k], v[k]);
    }
    _mm512_storeu_si512(first, h[0]);
    _mm512_storeu_si512(second, h[1]);
    for (int l = 0; l < n; l++) out[lane[l]->row] = (uint64_t)first[l] << 32 | second[l];
}
#endif

/* ---- plain addresses -------------------------------------------------------------------------------------------- */

/* What a byte may be, as bits: part of a label; kept in a path; hexadecimal; kept when decoded; kept in a piece of a
 * query. */
enum { HOST = 1, PLAIN = 2, HEX = 4, UNRESERVED = 8, PIECE = 16 };
static uint8_t class_of[256];

static void fill_classes(void)
{
    for (int c = 0; c < 256; c++) {
        int alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        uint8_t bits = 0;
        if (alnum || c == '-' || c == '_') bits |= HOST;
        if (alnum || (c && strchr("-._~!*'()$&+,;=:@/", c))) bits |= PLAIN;
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) bits |= HEX;
        if (alnum || (c && strchr("-._~!*'()", c))) bits |= UNRESERVED;
        if (((bits & PLAIN) && c != '&') || c == '?') bits |= PIECE;
        class_of[c] = bits;
    }
}

static inline uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }
static inline int digit_of(uint8_t c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

static const uint8_t HEX_DIGITS[] = "0123456789ABCDEF";

static inline size_t encode(uint8_t c, uint8_t *out)
{
    out[0] = '%';
    out[1] = HEX_DIGITS[c >> 4];
    out[2] = HEX_DIGITS[c & 15];
    return 3;
}

/* Length of the well-formed UTF-8 sequence of 2 to 4 bytes at s (Unicode, table 3-7); 0 if there is none. */
static inline size_t utf8_length(const uint8_t *s, size_t n)
{
    uint8_t c = s[0], low = 0x80, high = 0xBF;
    size_t length = c >= 0xC2 && c <= 0xDF ? 2 : (c & 0xF0) == 0xE0 ? 3 : c >= 0xF0 && c <= 0xF4 ? 4 : 0;
    if (!length || n < length) return 0;
    if (c == 0xE0) low = 0xA0;
    if (c == 0xED) high = 0x9F;
    if (c == 0xF0) low = 0x90;
    if (c == 0xF4) high = 0x8F;
    if (s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    return length;
}

/* The bytes at url[*i] that are not kept as they are, in normal form to *out. Moves *i to the last of them.
 * Returns the length written; 0: let the reference decide. */
static size_t normal(const uint8_t *url, size_t *i, size_t n, uint8_t *out)
{
    const uint8_t c = url[*i];
    if (c == '%') {
        if (n - *i < 3 || !(class_of[url[*i + 1]] & HEX) || !(class_of[url[*i + 2]] & HEX))
            return encode('%', out); /* a stray one */
        uint8_t value = (uint8_t)(digit_of(url[*i + 1]) << 4 | digit_of(url[*i + 2]));
        if (value == '.') return 0; /* may make a dot segment */
        *i += 2;
        if (!(class_of[value] & UNRESERVED)) return encode(value, out);
        out[0] = value;
        return 1;
    }
    if (c < 0x80) {
        /* Control characters are refused or stripped, a backslash is a slash, a space at the end is trimmed. */
        if (c < 0x20 || c == 0x7f || c == '\\' || (c == ' ' && *i + 1 == n)) return 0;
        return encode(c, out);
    }
    size_t length = utf8_length(url + *i, n - *i), wrote = 0;
    for (size_t k = 0; k < length; k++) wrote += encode(url[*i + k], out + wrote);
    if (length) *i += length - 1;
    return wrote;
}

/* Filled from heldout.urls at import, so that the names stand in one place. */
#define MAX_NAMES 128
#define MAX_NAME 32
static struct { char text[MAX_NAME]; size_t length; } names[MAX_NAMES], prefixes[16];
static size_t n_names, n_prefixes;

static int is_tracking(const uint8_t *piece, size_t length)
{
    uint8_t name[MAX_NAME];
    size_t n = 0;
    while (n < length && piece[n] != '=' && n < MAX_NAME) {
        name[n] = lower(piece[n]);
        n++;
    }
    for (size_t i = 0; i < n_prefixes; i++)
        if (n >= prefixes[i].length && !memcmp(name, prefixes[i].text, prefixes[i].length)) return 1;
    if (n == MAX_NAME) return 0; /* longer than any name */
    for (size_t i = 0; i < n_names; i++)
        if (n == names[i].length && !memcmp(name, names[i].text, n)) return 1;
    return 0;
}

/* The three loops of `plain_key`, by which bytes are copied that stay as they are: one at a time, or 64 at a time. They
 * return how many, and write up to 64 bytes beyond. */

/* The leading bytes of a host in lower case, and where its dots are; 64: too many. */
typedef size_t copy_host_f(const uint8_t *s, size_t n, uint8_t *out, uint64_t *dots);
/* The leading bytes that a path or a piece of a query keeps; of a path up to one that may begin a dot segment, for which
 * it looks at out[-1]. */
typedef size_t copy_f(const uint8_t *s, size_t n, uint8_t *out);

static inline size_t copy_host_portable(const uint8_t *s, size_t n, uint8_t *out, uint64_t *dots)
{
    size_t i = 0;
    for (*dots = 0; i < n && i < 64 && (s[i] == '.' || class_of[s[i]] & HOST); i++) {
        if (s[i] == '.') *dots |= (uint64_t)1 << i;
        out[i] = lower(s[i]);
    }
    return i;
}

static inline size_t copy_path_portable(const uint8_t *s, size_t n, uint8_t *out)
{
    size_t i = 0;
    for (; i < n && class_of[s[i]] & PLAIN && !(s[i] == '.' && out[(ptrdiff_t)i - 1] == '/'); i++) out[i] = s[i];
    return i;
}

static inline size_t copy_piece_portable(const uint8_t *s, size_t n, uint8_t *out)
{
    size_t i = 0;
    for (; i < n && class_of[s[i]] & PIECE; i++) out[i] = s[i];
    return i;
}

#ifdef HAVE_X86
/* Sets of ASCII bytes as 16 rows by the low half of a byte, with a bit for each of the 8 high halves. */
typedef struct { uint8_t rows[16]; } byte_set;
static byte_set host_set, path_set, piece_set;

static void fill_sets(void)
{
    for (int c = 0; c < 128; c++) {
        const uint8_t bit = (uint8_t)(1 << (c >> 4));
        if (class_of[c] & HOST || c == '.') host_set.rows[c & 15] |= bit;
        if (class_of[c] & PLAIN) path_set.rows[c & 15] |= bit;
        if (class_of[c] & PIECE) piece_set.rows[c & 15] |= bit;
    }
}

/* Up to 64 bytes, zeros behind: what is masked out is not touched, wherever the memory ends. */
TARGET_WIDE static inline __m512i load_upto(const uint8_t *s, size_t n)
{
    return _mm512_maskz_loadu_epi8(n < 64 ? _bzhi_u64(~(uint64_t)0, (unsigned)n) : ~(uint64_t)0, s);
}

TARGET_WIDE static inline uint64_t in_set(__m512i v, const byte_set *set)
{
    const __m512i rows = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)set->rows));
    const __m512i bits = _mm512_broadcast_i32x4(_mm_set_epi64x(0, (long long)0x8040201008040201ULL));
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
    return _mm512_test_epi8_mask(_mm512_shuffle_epi8(rows, v), _mm512_shuffle_epi8(bits, high)); /* >= 0x80: no row */
}

TARGET_WIDE static inline uint64_t equal(__m512i v, char c) { return _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(c)); }

TARGET_WIDE static inline size_t copy_host_wide(const uint8_t *s, size_t n, uint8_t *out, uint64_t *dots)
{
    const __m512i v = load_upto(s, n);
    const uint64_t other = ~in_set(v, &host_set);
    const __mmask64 upper = _mm512_cmple_epu8_mask(_mm512_sub_epi8(v, _mm512_set1_epi8('A')), _mm512_set1_epi8(25));
    _mm512_storeu_si512(out, _mm512_mask_add_epi8(v, upper, v, _mm512_set1_epi8(32)));
    const size_t length = other ? lowest_bit(other) : 64;
    *dots = equal(v, '.') & (length < 64 ? _bzhi_u64(~(uint64_t)0, (unsigned)length) : ~(uint64_t)0);
    return length;
}

TARGET_WIDE static inline size_t copy_path_wide(const uint8_t *s, size_t n, uint8_t *out)
{
    uint64_t after_slash = out[-1] == '/';
    for (size_t i = 0;; i += 64) {
        const __m512i v = load_upto(s + i, n - i);
        const uint64_t slashes = equal(v, '/');
        const uint64_t stop = ~in_set(v, &path_set) | (equal(v, '.') & (slashes << 1 | after_slash));
        _mm512_storeu_si512(out + i, v);
        if (stop) return i + lowest_bit(stop);
        after_slash = slashes >> 63;
    }
}

TARGET_WIDE static inline size_t copy_piece_wide(const uint8_t *s, size_t n, uint8_t *out)
{
    for (size_t i = 0;; i += 64) {
        const __m512i v = load_upto(s + i, n - i);
        const uint64_t stop = ~in_set(v, &piece_set);
        _mm512_storeu_si512(out + i, v);
        if (stop) return i + lowest_bit(stop);
    }
}
#endif

/* The bytes of a host of up to 63 bytes, in lower case, with these dots: labels that are not empty, none of them punycode,
 * which may be invalid; the last begins with a letter, so it is no IPv4 in any notation. */
static inline int is_plain_host(const uint8_t *host, size_t n, uint64_t dots)
{
    const uint64_t starts = dots << 1 | 1;
    if (n == 0 || starts & (dots | (uint64_t)1 << n)) return 0;
    size_t last = 0;
    for (uint64_t left = starts; left; left &= left - 1) {
        last = lowest_bit(left);
        if (n - last >= 4 && !memcmp(host + last, "xn--", 4)) return 0;
    }
    return host[last] >= 'a' && host[last] <= 'z';
}

/* Writes the canonical key of a plain address to m, with its host; 0: the reference must decide. A byte becomes three at
 * the most, and the scheme's seven are gone: a key has less than MAX_KEY. */
INLINE int plain_key(const uint8_t *url, size_t n, message *m, copy_host_f copy_host, copy_f copy_path, copy_f copy_piece)
{
    uint8_t *const out = m->bytes;
    if (n > MAX_PLAIN || n < 8) return 0;
    for (int k = 0; k < 4; k++)
        if (lower(url[k]) != (uint8_t) "http"[k]) return 0;
    size_t i = 4 + (lower(url[4]) == 's');
    if (memcmp(url + i, "://", 3)) return 0;
    i += 3;

    size_t o = copy_host(url + i, n - i, out, &m->dots);
    if (o > 63 || !is_plain_host(out, o, m->dots)) return 0;
    m->n_host = o;
    i += o;
    if (n - i >= 3 && !memcmp(url + i, ":80", 3)) i += 3;
    else if (n - i >= 4 && !memcmp(url + i, ":443", 4)) i += 4;
    if (i < n && url[i] != '/' && url[i] != '?' && url[i] != '#') return 0; /* ports, credentials, backslash, ... */

    if (i == n || url[i] != '/') out[o++] = '/';
    while (1) {
        size_t kept = copy_path(url + i, n - i, out + o);
        o += kept;
        i += kept;
        if (i == n || url[i] == '?' || url[i] == '#') break;
        if (url[i] == '.') return 0; /* maybe a dot segment */
        size_t wrote = normal(url, &i, n, out + o);
        if (!wrote) return 0;
        o += wrote;
        i++;
    }

    /* Query: pieces between &, without the empty and the tracking ones. */
    if (i < n && url[i] == '?') {
        size_t start = o; /* where "?" goes if anything is kept */
        i++;
        while (1) {
            size_t piece = o + 1; /* one byte left for ? or & */
            size_t p = piece;
            while (1) {
                size_t kept = copy_piece(url + i, n - i, out + p);
                p += kept;
                i += kept;
                if (i == n || url[i] == '&' || url[i] == '#') break;
                size_t wrote = normal(url, &i, n, out + p);
                if (!wrote) return 0;
                p += wrote;
                i++;
            }
            if (p > piece && !is_tracking(out + piece, p - piece)) {
                out[o] = o == start ? '?' : '&';
                o = p;
            }
            if (i == n || url[i] == '#') break;
            i++;
        }
    }

    /* Fragment: dropped, but a control character or anything outside ASCII in it is the reference's business. */
    for (; i < n; i++)
        if (url[i] <= 0x20 || url[i] >= 0x7f) return 0;
    m->length = o;
    return 1;
}

/* ---- hosts and folders ------------------------------------------------------------------------------------------- */

/* What heldout/places.py says, over canonical keys. Texts are found by SipHash-1-3 under a key of this process: whoever
 * claims places chooses their names, and must not be able to make everybody's lookups slow. */

#define MAX_PREFIX_BYTES 2000 /* heldout/leaves.py; a test compares them */
#define MAX_PREFIX_SEGMENTS 32 /* heldout/places.py */

typedef struct { uint64_t start; uint32_t length; uint8_t rank; } span;
typedef struct { uint32_t tag, place; } slot; /* place: number of the text, plus 1; 0 is free */
typedef struct { uint64_t *bits; int shift; } sketch; /* of what may be there: nearly all that is not is known by one bit */
typedef struct {
    const uint8_t *text;
    span *spans;
    slot *slots;
    uint64_t mask;
    sketch seen;
} text_set;
typedef struct {
    uint64_t key[2];
    uint8_t *host_text, *prefix_text;
    text_set hosts, prefixes;
    sketch authorities; /* what stands before a prefix's first slash */
} places;

static inline uint64_t rotl64(uint64_t x, int n) { return x << n | x >> (64 - n); }

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1]; v[1] = rotl64(v[1], 13); v[1] ^= v[0]; v[0] = rotl64(v[0], 32);
    v[2] += v[3]; v[3] = rotl64(v[3], 16); v[3] ^= v[2];
    v[0] += v[3]; v[3] = rotl64(v[3], 21); v[3] ^= v[0];
    v[2] += v[1]; v[1] = rotl64(v[1], 17); v[1] ^= v[2]; v[2] = rotl64(v[2], 32);
}

static uint64_t sip13(const uint64_t key[2], const uint8_t *p, size_t n)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL,
                     key[0] ^ 0x6c7967656e657261ULL, key[1] ^ 0x7465646279746573ULL};
    uint64_t last = (uint64_t)n << 56, word;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&word, p, 8); /* in this machine's order: the hash never leaves it */
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = 0; i < n; i++) last |= (uint64_t)p[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Where a text is in a sketch, by a hash of a few cycles. Texts can be chosen to collide here; they then cost what they
 * would without the sketch. */
static inline uint64_t sketched(const sketch *seen, const uint8_t *p, size_t n)
{
    const uint64_t prime = 0x9E3779B97F4A7C15ULL;
    uint64_t hash = n, word = 0;
    const size_t whole = n & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        memcpy(&word, p + i, 8);
        hash = (hash ^ word) * prime;
        hash ^= hash >> 32;
    }
    if (n >= 8) memcpy(&word, p + n - 8, 8);
    else memcpy(&word, p, n);
    return ((hash ^ word) * prime) >> seen->shift;
}

static inline int may_hold(const sketch *seen, const uint8_t *p, size_t n)
{
    const uint64_t bit = sketched(seen, p, n);
    return seen->bits[bit >> 6] >> (bit & 63) & 1;
}

static void note(sketch *seen, const uint8_t *p, size_t n)
{
    const uint64_t bit = sketched(seen, p, n);
    seen->bits[bit >> 6] |= (uint64_t)1 << (bit & 63);
}

/* The slot of this text, or the free one where it belongs. */
static slot *slot_of(const text_set *set, uint64_t hash, const uint8_t *p, size_t n)
{
    const uint32_t tag = (uint32_t)(hash >> 32);
    for (uint64_t at = hash & set->mask;; at = (at + 1) & set->mask) { /* at most half are taken */
        slot *s = set->slots + at;
        if (!s->place) return s;
        const span *found = set->spans + (s->place - 1);
        if (s->tag == tag && found->length == n && !memcmp(set->text + found->start, p, n)) return s;
    }
}

static inline const span *find_text(const text_set *set, const uint64_t key[2], const uint8_t *p, size_t n)
{
    if (!may_hold(&set->seen, p, n)) return NULL;
    const slot *s = slot_of(set, sip13(key, p, n), p, n);
    return s->place ? set->spans + (s->place - 1) : NULL;
}

static void insert_text(text_set *set, const uint64_t key[2], uint32_t number)
{
    const span *new = set->spans + number;
    const uint64_t hash = sip13(key, set->text + new->start, new->length);
    slot *s = slot_of(set, hash, set->text + new->start, new->length);
    if (s->place) return; /* the first of equal ones stays */
    s->tag = (uint32_t)(hash >> 32);
    s->place = number + 1;
    note(&set->seen, set->text + new->start, new->length);
}

/* Whether a host is an IP address: digits and dots, or in brackets. No host rule covers one. */
static int is_address(const uint8_t *host, size_t n)
{
    if (n && host[0] == '[') return 1;
    for (size_t i = 0; i < n; i++)
        if (host[i] != '.' && (host[i] < '0' || host[i] > '9')) return 0;
    return 1;
}

/* `dots`: of a host of up to 63 bytes, those in it. */
static int64_t host_rule(const places *all, const uint8_t *host, size_t n, uint64_t dots)
{
    const span *best = NULL;
    size_t start = 0;
    for (; dots; dots &= dots - 1) { /* a last label alone is no host */
        const span *found = find_text(&all->hosts, all->key, host + start, n - start);
        if (found && (!best || found->rank > best->rank)) best = found; /* the nearest of equal ones */
        start = lowest_bit(dots) + 1;
    }
    return best ? best - all->hosts.spans : -1;
}

/* The same of any host. */
static int64_t any_host_rule(const places *all, const uint8_t *host, size_t n)
{
    const span *best = NULL;
    if (is_address(host, n)) return -1;
    size_t end = n;
    while (end && host[end - 1] != '.') end--;
    for (size_t start = 0; start < end; start++) {
        const span *found = find_text(&all->hosts, all->key, host + start, n - start);
        if (found && (!best || found->rank > best->rank)) best = found;
        while (host[start] != '.') start++;
    }
    return best ? best - all->hosts.spans : -1;
}

static int64_t prefix_rule(const places *all, const uint8_t *key, size_t n, size_t authority)
{
    const span *best = NULL;
    const uint8_t *query = memchr(key, '?', n);
    size_t end = query ? (size_t)(query - key) : n, n_segments = 0;
    const int is_cut = end >= MAX_PREFIX_BYTES;
    if (is_cut) end = MAX_PREFIX_BYTES;
    for (size_t i = authority + 1; i <= end && n_segments < MAX_PREFIX_SEGMENTS; i++) {
        if ((i < end && key[i] != '/') || key[i - 1] == '/' || (i == end && is_cut)) continue;
        n_segments++;
        const span *found = find_text(&all->prefixes, all->key, key, i);
        if (found && (!best || found->rank >= best->rank)) best = found;
    }
    return best ? best - all->prefixes.spans : -1;
}

static int64_t folder_rule(const places *all, const uint8_t *key, size_t n, size_t authority)
{
    if (!all->prefixes.spans || !may_hold(&all->authorities, key, authority)) return -1;
    return prefix_rule(all, key, n, authority);
}

/* Which rules cover a canonical key; none, if it is something else. */
static void match_any_key(const places *all, const uint8_t *key, size_t n, int64_t *prefix, int64_t *host)
{
    const uint8_t *slash = memchr(key, '/', n);
    *prefix = *host = -1;
    if (!slash) return;
    const size_t authority = (size_t)(slash - key);
    size_t n_host = authority;
    if (authority && key[authority - 1] != ']')
        for (size_t i = authority; i-- > 0;)
            if (key[i] == ':') {
                n_host = i;
                break;
            }
    *prefix = folder_rule(all, key, n, authority);
    if (all->hosts.spans) *host = any_host_rule(all, key, n_host);
}

/* ---- over Arrow buffers ------------------------------------------------------------------------------------------ */

static int get(PyObject *object, Py_buffer *view, int writable, Py_ssize_t size, const char *what)
{
    if (PyObject_GetBuffer(object, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) return -1;
    if (view->len < size) {
        PyErr_Format(PyExc_ValueError, "%s holds %zd bytes, %zd needed", what, view->len, size);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

static inline int64_t offset_at(const uint8_t *offsets, Py_ssize_t i, int wide)
{
    if (wide) {
        int64_t v;
        memcpy(&v, offsets + 8 * i, 8);
        return v;
    }
    int32_t v;
    memcpy(&v, offsets + 4 * i, 4);
    return v;
}

/* Keys that wait for their digests. */
#define MOST_KEYS 256
#define KEY_BYTES (32 * 1024) /* of a processor's nearest cache */
typedef struct {
    size_t n, used;
    message keys[MOST_KEYS];
    uint8_t text[KEY_BYTES + MAX_KEY + SLACK];
} batch;

static void hash_batch(const batch *b, uint64_t *out)
{
    const message *rest[MOST_KEYS];
    size_t n_rest = 0;
#ifdef HAVE_X86
    if (use_wide) {
        /* By length, so that those which are hashed together end together. */
        const message *sorted[MOST_KEYS];
        size_t start[MAX_WIDE_BLOCKS + 2] = {0}, n = 0;
        for (size_t i = 0; i < b->n; i++)
            if (b->keys[i].n_blocks <= MAX_WIDE_BLOCKS) start[b->keys[i].n_blocks + 1]++, n++;
        for (size_t k = 1; k < MAX_WIDE_BLOCKS + 2; k++) start[k] += start[k - 1];
        for (size_t i = 0; i < b->n; i++) {
            const message *m = b->keys + i;
            if (m->n_blocks <= MAX_WIDE_BLOCKS) sorted[start[m->n_blocks]++] = m;
            else rest[n_rest++] = m;
        }
        for (size_t i = 0; i < n; i += LANES) hash_wide(sorted + i, n - i < LANES ? (int)(n - i) : LANES, out);
    } else
#endif
        for (; n_rest < b->n; n_rest++) rest[n_rest] = b->keys + n_rest;
    for (size_t i = 0; i < n_rest; i += 2) hash_pair(rest[i], i + 1 < n_rest ? rest[i + 1] : NULL, out);
}

static void finish_batch(batch *b, uint64_t *out, const places *all, int64_t *prefix, int64_t *host)
{
    hash_batch(b, out);
    for (size_t i = 0; all && i < b->n; i++) {
        const message *m = b->keys + i;
        if (all->hosts.spans) host[m->row] = host_rule(all, m->bytes, m->n_host, m->dots);
        prefix[m->row] = folder_rule(all, m->bytes, m->length, m->n_host);
    }
    b->n = b->used = 0;
}

static int plain_key_portable(const uint8_t *url, size_t n, message *m)
{
    return plain_key(url, n, m, copy_host_portable, copy_path_portable, copy_piece_portable);
}

#ifdef HAVE_X86
TARGET_WIDE static int plain_key_wide(const uint8_t *url, size_t n, message *m)
{
    return plain_key(url, n, m, copy_host_wide, copy_path_wide, copy_piece_wide);
}
#endif

/* Returns the number of rows left to the reference; -1 when the offsets are not those of `data`. */
static Py_ssize_t digest_rows(const uint8_t *offsets, int wide, const uint8_t *data, int64_t data_length,
                              const uint8_t *validity, Py_ssize_t first, Py_ssize_t n, uint64_t *out, uint8_t *status,
                              const places *all, int64_t *prefix, int64_t *host)
{
    static _Thread_local batch waiting;
    batch *const b = &waiting;
    int (*make_key)(const uint8_t *, size_t, message *) = plain_key_portable;
#ifdef HAVE_X86
    if (use_wide) make_key = plain_key_wide;
#endif
    Py_ssize_t left = 0;
    b->n = b->used = 0;
    for (Py_ssize_t row = 0; row < n; row++) {
        Py_ssize_t at = first + row;
        out[row] = 0;
        if (all) prefix[row] = host[row] = -1;
        if (validity && !(validity[at >> 3] >> (at & 7) & 1)) {
            status[row] = IS_NULL;
            continue;
        }
        int64_t from = offset_at(offsets, at, wide), to = offset_at(offsets, at + 1, wide);
        if (from < 0 || to < from || to > data_length) return -1;
        message *m = b->keys + b->n;
        m->bytes = b->text + b->used;
        if (!make_key(data + from, (size_t)(to - from), m)) {
            status[row] = NEEDS_REFERENCE;
            left++;
            continue;
        }
        status[row] = DONE;
        m->row = row;
        pad(m);
        b->used += m->n_blocks * 64;
        b->n++;
        if (b->n == MOST_KEYS || b->used > KEY_BYTES) finish_batch(b, out, all, prefix, host);
    }
    finish_batch(b, out, all, prefix, host);
    return left;
}

PyDoc_STRVAR(digest_doc,
"digest(offsets, wide, data, validity, first, n, out, status, places, prefix, host) -> rows left to the reference\n\n"
"Key digests of an Arrow string array's rows [first, first + n): the first 8 bytes of the SHA-256 of the canonical key,\n"
"big-endian, as uint64 into `out`; `status` uint8: 0 done, 1 needs the reference, 2 null. `wide`: 64-bit offsets.\n"
"With `places`, of `index_places` or None, int64 numbers of the rules that cover each row into `prefix` and `host`.\n"
"Releases the GIL. Raises ValueError for buffers too short or offsets out of range.");

static const char PLACES[] = "heldout._kernel.places";

static PyObject *digest(PyObject *self, PyObject *args)
{
    PyObject *offsets_o, *data_o, *validity_o, *out_o, *status_o, *places_o, *prefix_o, *host_o;
    int wide;
    Py_ssize_t first, n, left = -1;
    Py_buffer offsets, data, validity = {0}, out, status, prefix = {0}, host = {0};
    const places *all = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "OpOOnnOOOOO", &offsets_o, &wide, &data_o, &validity_o, &first, &n, &out_o, &status_o,
                          &places_o, &prefix_o, &host_o))
        return NULL;
    const Py_ssize_t width = wide ? 8 : 4;
    if (first < 0 || n < 0 || n > PY_SSIZE_T_MAX / 16 || first > PY_SSIZE_T_MAX / 16) {
        PyErr_SetString(PyExc_ValueError, "first and n must not be negative, nor beyond memory");
        return NULL;
    }
    if (places_o != Py_None && !(all = PyCapsule_GetPointer(places_o, PLACES))) return NULL;
    if (get(offsets_o, &offsets, 0, (first + n + 1) * width, "offsets") < 0) return NULL;
    if (get(data_o, &data, 0, 0, "data") < 0) goto release_offsets;
    const int nullable = validity_o != Py_None;
    if (nullable && get(validity_o, &validity, 0, (first + n + 7) / 8, "validity") < 0) goto release_data;
    if (get(out_o, &out, 1, 8 * n, "out") < 0) goto release_validity;
    if (get(status_o, &status, 1, n, "status") < 0) goto release_out;
    if (all && get(prefix_o, &prefix, 1, 8 * n, "prefix") < 0) goto release_status;
    if (all && get(host_o, &host, 1, 8 * n, "host") < 0) goto release_prefix;
    Py_BEGIN_ALLOW_THREADS
    left = digest_rows(offsets.buf, wide, data.buf, data.len, nullable ? validity.buf : NULL, first, n, out.buf,
                       status.buf, all, prefix.buf, host.buf);
    Py_END_ALLOW_THREADS
    if (left < 0) PyErr_SetString(PyExc_ValueError, "offsets are not those of the data");
    if (all) PyBuffer_Release(&host);
release_prefix:
    if (all) PyBuffer_Release(&prefix);
release_status:
    PyBuffer_Release(&status);
release_out:
    PyBuffer_Release(&out);
release_validity:
    if (nullable) PyBuffer_Release(&validity);
release_data:
    PyBuffer_Release(&data);
release_offsets:
    PyBuffer_Release(&offsets);
    return left < 0 ? NULL : PyLong_FromSsize_t(left);
}

/* ---- the places of a list ----------------------------------------------------------------------------------------- */

static void free_places(places *all)
{
    free(all->host_text);
    free(all->prefix_text);
    free(all->hosts.spans);
    free(all->hosts.slots);
    free(all->hosts.seen.bits);
    free(all->prefixes.spans);
    free(all->prefixes.slots);
    free(all->prefixes.seen.bits);
    free(all->authorities.bits);
    free(all);
}

static void free_capsule(PyObject *capsule)
{
    places *all = PyCapsule_GetPointer(capsule, PLACES);
    if (all) free_places(all);
}

/* Room for n texts; 0 if there is none. */
static int reserve_sketch(sketch *seen, int64_t n)
{
    int bits = 6; /* 32 to 64 a text: one in that many that are not there is looked for in vain */
    while (((uint64_t)1 << bits) < 32 * (uint64_t)n) bits++;
    seen->bits = calloc((size_t)1 << (bits - 6), sizeof *seen->bits);
    seen->shift = 64 - bits;
    return seen->bits != NULL;
}

static int reserve(text_set *set, int64_t n, const uint8_t *text)
{
    uint64_t size = 2;
    while (size < 2 * (uint64_t)n) size *= 2;
    set->text = text;
    set->mask = size - 1;
    set->spans = calloc((size_t)n, sizeof *set->spans);
    set->slots = calloc((size_t)size, sizeof *set->slots);
    return reserve_sketch(&set->seen, n) && set->spans && set->slots;
}

/* The texts of an Arrow array with 64-bit offsets; `ends_in_slash`: without that slash, those without one left out.
 * Returns NULL with an exception set, or a copy of the text. */
static uint8_t *add_texts(text_set *set, const uint64_t key[2], PyObject *offsets_o, PyObject *data_o,
                          PyObject *rank_o, int ends_in_slash)
{
    Py_buffer offsets, data, rank;
    uint8_t *text = NULL;
    if (get(rank_o, &rank, 0, 0, "rank") < 0) return NULL;
    const int64_t n = rank.len;
    if (get(offsets_o, &offsets, 0, n > PY_SSIZE_T_MAX / 16 ? PY_SSIZE_T_MAX : (n + 1) * 8, "offsets") < 0)
        goto release_rank;
    if (get(data_o, &data, 0, 0, "data") < 0) goto release_offsets;
    if (n >= INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "too many places");
        goto release_data;
    }
    if (!(text = malloc((size_t)data.len + 1)) || (n && !reserve(set, n, text))) {
        free(text);
        text = NULL;
        PyErr_NoMemory();
        goto release_data;
    }
    memcpy(text, data.buf, (size_t)data.len);
    for (int64_t i = 0; i < n; i++) {
        int64_t from = offset_at(offsets.buf, i, 1), to = offset_at(offsets.buf, i + 1, 1);
        if (from < 0 || to < from || to > data.len || to - from > INT32_MAX) {
            free(text);
            text = NULL;
            PyErr_SetString(PyExc_ValueError, "offsets are not those of the data");
            break;
        }
        if (ends_in_slash) {
            if (to == from || text[to - 1] != '/') continue; /* covers nothing */
            to--;
        }
        set->spans[i] = (span){(uint64_t)from, (uint32_t)(to - from), ((const uint8_t *)rank.buf)[i]};
        insert_text(set, key, (uint32_t)i);
    }
release_data:
    PyBuffer_Release(&data);
release_offsets:
    PyBuffer_Release(&offsets);
release_rank:
    PyBuffer_Release(&rank);
    return text;
}

/* What the authorities of n prefixes are; 0 if there is no room. */
static int add_authorities(places *all, int64_t n)
{
    if (!n) return 1;
    if (!reserve_sketch(&all->authorities, n)) return 0;
    for (int64_t i = 0; i < n; i++) {
        const span whole = all->prefixes.spans[i];
        const uint8_t *start = all->prefix_text + whole.start, *slash = memchr(start, '/', whole.length);
        if (slash) note(&all->authorities, start, (size_t)(slash - start)); /* else it covers nothing */
    }
    return 1;
}

PyDoc_STRVAR(index_doc,
"index_places(key, prefix_offsets, prefix_data, prefix_rank, host_offsets, host_data, host_rank) -> places\n\n"
"Rules about folders and hosts, ready for `digest` and `match`: texts as Arrow arrays with 64-bit offsets, from offset 0,\n"
"copied; uint8 ranks, one each. `key`: 16 random bytes. Raises ValueError for buffers that do not fit each other.");

static PyObject *index_places(PyObject *self, PyObject *args)
{
    PyObject *prefix_o[3], *host_o[3];
    const char *key;
    Py_ssize_t n_key;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#OOOOOO", &key, &n_key, prefix_o, prefix_o + 1, prefix_o + 2, host_o, host_o + 1,
                          host_o + 2))
        return NULL;
    if (n_key != 16) {
        PyErr_SetString(PyExc_ValueError, "the key must have 16 bytes");
        return NULL;
    }
    const Py_ssize_t n_prefixes_given = PyObject_Size(prefix_o[2]);
    if (n_prefixes_given < 0) return NULL;
    places *all = calloc(1, sizeof *all);
    if (!all) return PyErr_NoMemory();
    memcpy(all->key, key, 16);
    all->prefix_text = add_texts(&all->prefixes, all->key, prefix_o[0], prefix_o[1], prefix_o[2], 1);
    if (all->prefix_text) all->host_text = add_texts(&all->hosts, all->key, host_o[0], host_o[1], host_o[2], 0);
    if (!all->host_text) goto fail;
    if (!add_authorities(all, all->prefixes.spans ? n_prefixes_given : 0)) {
        PyErr_NoMemory();
        goto fail;
    }
    PyObject *capsule = PyCapsule_New(all, PLACES, free_capsule);
    if (capsule) return capsule;
fail:
    free_places(all);
    return NULL;
}

PyDoc_STRVAR(match_doc,
"match(places, offsets, data, n, prefix, host)\n\n"
"Numbers of the rules that cover n canonical keys, an Arrow array with 64-bit offsets, int64 into `prefix` and `host`;\n"
"-1 where none does. Releases the GIL. Raises ValueError for buffers too short or offsets out of range.");

static PyObject *match(PyObject *self, PyObject *args)
{
    PyObject *places_o, *offsets_o, *data_o, *prefix_o, *host_o;
    Py_ssize_t n;
    int bad = 1;
    Py_buffer offsets, data, prefix, host;
    const places *all;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOOnOO", &places_o, &offsets_o, &data_o, &n, &prefix_o, &host_o)) return NULL;
    if (!(all = PyCapsule_GetPointer(places_o, PLACES))) return NULL;
    if (n < 0 || n > PY_SSIZE_T_MAX / 16) {
        PyErr_SetString(PyExc_ValueError, "n must not be negative, nor beyond memory");
        return NULL;
    }
    if (get(offsets_o, &offsets, 0, (n + 1) * 8, "offsets") < 0) return NULL;
    if (get(data_o, &data, 0, 0, "data") < 0) goto release_offsets;
    if (get(prefix_o, &prefix, 1, 8 * n, "prefix") < 0) goto release_data;
    if (get(host_o, &host, 1, 8 * n, "host") < 0) goto release_prefix;
    Py_BEGIN_ALLOW_THREADS
    bad = 0;
    for (Py_ssize_t row = 0; row < n; row++) {
        int64_t from = offset_at(offsets.buf, row, 1), to = offset_at(offsets.buf, row + 1, 1);
        if (from < 0 || to < from || to > data.len) {
            bad = 1;
            break;
        }
        match_any_key(all, (const uint8_t *)data.buf + from, (size_t)(to - from), (int64_t *)prefix.buf + row,
                      (int64_t *)host.buf + row);
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&host);
release_prefix:
    PyBuffer_Release(&prefix);
release_data:
    PyBuffer_Release(&data);
release_offsets:
    PyBuffer_Release(&offsets);
    if (PyErr_Occurred()) return NULL;
    if (bad) {
        PyErr_SetString(PyExc_ValueError, "offsets are not those of the data");
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- looking up in sorted keys ------------------------------------------------------------------------------------ */

PyDoc_STRVAR(lookup_doc,
"lookup(keys, starts, bits, queries, out)\n\n"
"Positions of uint64 `queries` in sorted, unique uint64 `keys`, int64 into `out`; -1 where absent. `starts` is int64,\n"
"2**bits + 1 long: starts[p] is the first position whose key has a top-bits prefix >= p. Keys are digests, so a\n"
"bucket holds a handful. Releases the GIL. Raises ValueError for buffers too short or starts out of range.");

#define AHEAD 16 /* rows between asking memory for a bucket and reading it */

static PyObject *lookup(PyObject *self, PyObject *args)
{
    PyObject *keys_o, *starts_o, *queries_o, *out_o;
    int bits, bad = 1;
    Py_buffer keys_v, starts_v, queries_v, out_v;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOiOO", &keys_o, &starts_o, &bits, &queries_o, &out_o)) return NULL;
    if (bits < 1 || bits > 40) {
        PyErr_SetString(PyExc_ValueError, "bits must be 1 to 40");
        return NULL;
    }
    if (get(keys_o, &keys_v, 0, 0, "keys") < 0) return NULL;
    if (get(starts_o, &starts_v, 0, (((Py_ssize_t)1 << bits) + 1) * 8, "starts") < 0) goto release_keys;
    if (get(queries_o, &queries_v, 0, 0, "queries") < 0) goto release_starts;
    if (get(out_o, &out_v, 1, queries_v.len, "out") < 0) goto release_queries;
    const uint64_t *keys = keys_v.buf, *queries = queries_v.buf;
    const int64_t *starts = starts_v.buf;
    int64_t *out = out_v.buf;
    const int64_t n_keys = keys_v.len / 8, n = queries_v.len / 8;
    const int shift = 64 - bits;
    Py_BEGIN_ALLOW_THREADS
    bad = 0;
    for (int64_t i = 0; i < n; i++) {
#if defined(__GNUC__) || defined(__clang__)
        if (i + 2 * AHEAD < n) __builtin_prefetch(starts + (queries[i + 2 * AHEAD] >> shift));
        if (i + AHEAD < n) {
            int64_t soon = starts[queries[i + AHEAD] >> shift];
            if (soon >= 0 && soon < n_keys) __builtin_prefetch(keys + soon);
        }
#endif
        const uint64_t q = queries[i], p = q >> shift;
        int64_t low = starts[p], high = starts[p + 1];
        if (low < 0 || high < low || high > n_keys) {
            bad = 1;
            break;
        }
        while (high - low > 8) { /* a skewed list: still logarithmic */
            int64_t middle = low + (high - low) / 2;
            if (keys[middle] <= q) low = middle; else high = middle;
        }
        out[i] = -1;
        for (int64_t j = low; j < high; j++)
            if (keys[j] == q) {
                out[i] = j;
                break;
            }
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&out_v);
release_queries:
    PyBuffer_Release(&queries_v);
release_starts:
    PyBuffer_Release(&starts_v);
release_keys:
    PyBuffer_Release(&keys_v);
    if (PyErr_Occurred()) return NULL;
    if (bad) {
        PyErr_SetString(PyExc_ValueError, "starts are not those of the keys");
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- module -------------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(tracking_doc,
"set_tracking(names, prefixes)\n\n"
"The tracking parameters to drop: tuples of lower-case ASCII strings, at most 128 names and 16 prefixes of up to 31 bytes.");

static int copy_names(PyObject *tuple, char *text, size_t stride, size_t limit, size_t *count)
{
    Py_ssize_t n = PyTuple_Size(tuple);
    if (n < 0) return -1;
    if ((size_t)n > limit) {
        PyErr_SetString(PyExc_ValueError, "too many tracking parameters for the kernel's table");
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_ssize_t length;
        const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(tuple, i), &length);
        if (!name) return -1;
        if (length >= MAX_NAME) {
            PyErr_Format(PyExc_ValueError, "tracking parameter %s is too long for the kernel's table", name);
            return -1;
        }
        char *at = text + (size_t)i * stride;
        size_t size = (size_t)length;
        memcpy(at, name, size);
        memcpy(at + MAX_NAME, &size, sizeof size);
    }
    *count = (size_t)n;
    return 0;
}

static PyObject *set_tracking(PyObject *self, PyObject *args)
{
    PyObject *names_o, *prefixes_o;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO", &names_o, &prefixes_o)) return NULL;
    if (copy_names(names_o, names[0].text, sizeof names[0], MAX_NAMES, &n_names) < 0) return NULL;
    if (copy_names(prefixes_o, prefixes[0].text, sizeof prefixes[0], 16, &n_prefixes) < 0) return NULL;
    Py_RETURN_NONE;
}

/* At most as asked for, and as this processor has. Returns the level, of `use_instructions`. */
static int use_level(int wanted)
{
#ifdef HAVE_X86
    use_sha_x86 = wanted >= 1 && has_sha_x86();
    use_wide = wanted >= 2 && has_wide();
#else
    (void)wanted;
#endif
    return use_wide ? 2 : use_sha_x86;
}

PyDoc_STRVAR(use_doc,
"use_instructions(level) -> level\n\n"
"Use what the processor has up to a level, and say to which that is: 0 portable code, 1 SHA extensions, 2 AVX-512 too.\n"
"For tests and benchmarks; at import it is 2.");

static PyObject *use_instructions(PyObject *self, PyObject *args)
{
    int wanted;
    (void)self;
    if (!PyArg_ParseTuple(args, "i", &wanted)) return NULL;
    return PyLong_FromLong(use_level(wanted));
}

static PyMethodDef methods[] = {
    {"digest", digest, METH_VARARGS, digest_doc},
    {"index_places", index_places, METH_VARARGS, index_doc},
    {"match", match, METH_VARARGS, match_doc},
    {"lookup", lookup, METH_VARARGS, lookup_doc},
    {"set_tracking", set_tracking, METH_VARARGS, tracking_doc},
    {"use_instructions", use_instructions, METH_VARARGS, use_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_kernel", "The native inner loop of filtering; see heldout/kernel.py.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernel(void)
{
    fill_classes();
#ifdef HAVE_X86
    fill_sets();
#endif
    use_level(2);
    PyObject *made = PyModule_Create(&module);
    if (made && (PyModule_AddIntConstant(made, "INTERFACE", INTERFACE) < 0 ||
                 PyModule_AddIntConstant(made, "MAX_PREFIX_BYTES", MAX_PREFIX_BYTES) < 0 ||
                 PyModule_AddIntConstant(made, "MAX_PREFIX_SEGMENTS", MAX_PREFIX_SEGMENTS) < 0)) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}
