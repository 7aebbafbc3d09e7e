#include <stdint.h>

void begin_clock(void);            /* from now on libraries see the events' time, from 0 on */
void tell_clock(int64_t event_ns); /* the time of the event that is next; it never goes back */
int64_t now_ns(void);              /* of the system */
