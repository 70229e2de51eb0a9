/* Publishes on the channel `counter` how often it was ticked. */
#include "wasmbed.h"

enum { MAX_DIGITS = 10 };

static uint32_t ticks;

/* Writes a number in decimal to the end of `digits`; answers how many digits it has. */
static uint32_t decimal(uint32_t number, char digits[MAX_DIGITS]) {
    uint32_t len = 0;
    do {
        digits[MAX_DIGITS - ++len] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return len;
}

WASMBED_EXPORT("tick") void tick(void) {
    static const char channel[] = "counter";
    char digits[MAX_DIGITS];
    uint32_t len = decimal(++ticks, digits);
    /* A number that does not get through is followed by the next one. */
    (void)wasmbed_telemetry(channel, sizeof channel - 1, digits + MAX_DIGITS - len, len);
}
