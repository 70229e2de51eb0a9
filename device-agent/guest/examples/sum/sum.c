/* Sums numbers in parallel: each tick starts threads for parts of them, sums a part itself, waits for the others, and
 * publishes the sum on the channel `sum`. For Linux devices, whose class has threads. */
#include "wasmbed.h"

enum { PARTS = 4, NUMBERS = 1 << 20, STACK_BYTES = 4096, MAX_DIGITS = 20 };

static uint32_t numbers[NUMBERS];

struct part {
    struct wasmbed_thread thread;
    const uint32_t *first;
    uint64_t sum;
    _Alignas(16) char stack[STACK_BYTES];
};

static struct part parts[PARTS];
/* Parts that are not summed yet. */
static int32_t left;

static void sum(void *context) {
    struct part *part = context;
    uint64_t sum = 0;
    for (uint32_t nth = 0; nth < NUMBERS / PARTS; nth++) {
        sum += part->first[nth];
    }
    part->sum = sum;
    if (__atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST) == 0) {
        __builtin_wasm_memory_atomic_notify(&left, 1);
    }
}

WASMBED_THREADS;

WASMBED_EXPORT("init") int32_t init(void) {
    for (uint32_t nth = 0; nth < NUMBERS; nth++) {
        numbers[nth] = nth;
    }
    return 0;
}

/* Writes a number in decimal to the end of `digits`; answers how many digits it has. */
static uint32_t decimal(uint64_t number, char digits[MAX_DIGITS]) {
    uint32_t len = 0;
    do {
        digits[MAX_DIGITS - ++len] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return len;
}

WASMBED_EXPORT("tick") void tick(void) {
    static const char channel[] = "sum";
    __atomic_store_n(&left, PARTS, __ATOMIC_SEQ_CST);
    for (uint32_t nth = 0; nth < PARTS; nth++) {
        struct part *part = &parts[nth];
        part->first = numbers + nth * (NUMBERS / PARTS);
        part->thread = (struct wasmbed_thread){part->stack + STACK_BYTES, sum, part};
        /* The last part is the main thread's, as is what finds no thread. */
        if (nth == PARTS - 1 || wasmbed_thread_start(&part->thread) < 0) {
            sum(part);
        }
    }
    for (int32_t now; (now = __atomic_load_n(&left, __ATOMIC_SEQ_CST)) > 0;) {
        __builtin_wasm_memory_atomic_wait32(&left, now, -1);
    }
    uint64_t total = 0;
    for (uint32_t nth = 0; nth < PARTS; nth++) {
        total += parts[nth].sum;
    }
    char digits[MAX_DIGITS];
    uint32_t len = decimal(total, digits);
    /* A number that does not get through is followed by the next one. */
    (void)wasmbed_telemetry(channel, sizeof channel - 1, digits + MAX_DIGITS - len, len);
}
