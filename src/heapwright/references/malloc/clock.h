#include <stdint.h>

extern int64_t tick_ns, ticks; /* nanoseconds an event, or -1: the system's clock; events so far */
int64_t now_ns(void);          /* of the system */
