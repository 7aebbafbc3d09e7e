#include <stdint.h>

enum { PAGE = 4096 };

struct footprint { int64_t mapped, anonymous, shared; }; /* pages; anonymous and shared are resident */

struct footprint footprint(void);        /* /proc/self/statm, after make_ready */
int64_t status_pages(const char *field); /* of /proc/self/status: "VmHWM:", "VmPeak:", ... */
int64_t faults(void);                    /* page faults so far */

/* Make every page that is mapped now resident; whether the count follows every single page. */
int make_ready(void);

/* Let VmHWM start from now; VmPeak cannot be reset, so VmSize is raised to it. Whether it worked. */
int reset_high_water(void);

_Noreturn void die(const char *why);     /* a sentence for whoever drives this process */
