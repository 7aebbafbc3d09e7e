/* What a process becomes is recorded too, whatever environment it is given. Included by recorder.c.
 *
 *   exec, posix_spawn ─► an environment that names this library first ─► the same call of libc
 *
 * Another malloc that LD_PRELOAD names is set aside: two in one process would each see a part of it, and
 * what the program asks for is what is recorded. ASIDE tells which. The environment is made on the
 * stack: the caller may be a child of vfork, or hold no malloc. */
#define ASIDE "HEAPWRIGHT_ASIDE"
#define ENTRIES 20000 /* of an environment; a longer one is given as it is */

static void *libc_handle; /* of an attached process, where RTLD_NEXT means nothing: attached.h */
static void *next(const char *name) { return dlsym(libc_handle ? libc_handle : RTLD_NEXT, name); }

/* The value of `name` in an entry of an environment; NULL when it is another one's. */
static const char *value_of(const char *entry, const char *name) {
    size_t length = strlen(name);
    return !strncmp(entry, name, length) && entry[length] == '=' ? entry + length + 1 : NULL;
}

static int is_malloc(const char *name, size_t length) { /* libjemalloc.so.2, libtcmalloc_minimal.so.4, ... */
    const char *const known[] = {"malloc", "libhoard", "libscudo", "libmesh"};
    const char *folder = memrchr(name, '/', length);
    if (folder) length -= (size_t)(folder + 1 - name), name = folder + 1;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (memmem(name, length, known[i], strlen(known[i]))) return 1;
    return 0;
}

struct edited { char **entries, *preload, *aside, *record; size_t room; };

/* Sizes of what `edit` fills; 0 entries when the environment stays as it is. */
static size_t entries_of(char *const *envp) {
    size_t count = 0;
    while (envp && envp[count]) count++;
    return followed() && *kept.library && count < ENTRIES ? count + 4 : 0;
}
static size_t longest_of(char *const *envp) {
    size_t longest = 0;
    for (; envp && *envp; envp++) {
        const char *old = value_of(*envp, "LD_PRELOAD");
        if (old && strlen(old) > longest) longest = strlen(old);
    }
    return longest + sizeof kept.library + 64;
}

static void edit(struct edited *to, char *const *envp) {
    size_t at = 0;
    *to->preload = *to->aside = *to->record = 0;
    add_text(to->preload, to->room, "LD_PRELOAD=");
    add_text(to->preload, to->room, kept.library);
    add_text(to->aside, to->room, ASIDE "=");
    size_t none = strlen(to->aside);
    for (; envp && *envp; envp++) {
        const char *old = value_of(*envp, "LD_PRELOAD");
        if (value_of(*envp, "HEAPWRIGHT_RECORD")) continue;
        if (!old) {
            if (!value_of(*envp, ASIDE)) to->entries[at++] = *envp;
            else to->aside[none] = 0, add_text(to->aside, to->room, value_of(*envp, ASIDE));
            continue;
        }
        for (size_t length; *old; old += length + !!old[length]) {
            length = strcspn(old, ": ");
            if (!length || (length == strlen(kept.library) && !strncmp(old, kept.library, length))) continue;
            char *into = is_malloc(old, length) ? to->aside : to->preload;
            if (into == to->preload || into[none]) add_text(into, to->room, ":");
            add_text(into, strlen(into) + length + 1 < to->room ? strlen(into) + length + 1 : to->room, old);
        }
    }
    add_text(to->record, sizeof kept.folder + 64, "HEAPWRIGHT_RECORD=");
    add_number(to->record, sizeof kept.folder + 64, kept.parent);
    add_text(to->record, sizeof kept.folder + 64, ":");
    add_text(to->record, sizeof kept.folder + 64, kept.folder);
    to->entries[at++] = to->preload;
    to->entries[at++] = to->record;
    if (to->aside[none]) to->entries[at++] = to->aside;
    to->entries[at] = NULL;
}

/* In a frame that outlives the call: `name`, the environment to give, made of `envp`. */
#define EDITED(name, envp)                                                                    \
    size_t name##_count = entries_of(envp), name##_room = name##_count ? longest_of(envp) : 1; \
    char *name##_entries[name##_count + 1], name##_preload[name##_room];                       \
    char name##_aside[name##_room], name##_record[sizeof kept.folder + 64];                    \
    if (name##_count)                                                                          \
        edit(&(struct edited){name##_entries, name##_preload, name##_aside, name##_record, name##_room}, envp); \
    char *const *name = name##_count ? name##_entries : envp

static void becomes(const char *path) { /* told beforehand; taken back if it fails */
    if (state.phase != ON || state.header->pid != (uint64_t)getpid()) return; /* a child of vfork */
    *state.header->executed = 0;
    add_text(state.header->executed, sizeof state.header->executed, path);
}

int execve(const char *path, char *const argv[], char *const envp[]) {
    EDITED(env, envp);
    becomes(path);
    int result = syscall(SYS_execve, path, argv, env);
    becomes("");
    return result;
}
int execv(const char *path, char *const argv[]) { return execve(path, argv, environ); }

int execvpe(const char *file, char *const argv[], char *const envp[]) {
    int (*real)(const char *, char *const *, char *const *) = next("execvpe");
    EDITED(env, envp);
    becomes(file);
    int result = real(file, argv, env);
    becomes("");
    return result;
}
int execvp(const char *file, char *const argv[]) { return execvpe(file, argv, environ); }

int fexecve(int fd, char *const argv[], char *const envp[]) {
    int (*real)(int, char *const *, char *const *) = next("fexecve");
    EDITED(env, envp);
    becomes("a file given by descriptor");
    int result = real(fd, argv, env);
    becomes("");
    return result;
}

/* The arguments of a variadic call up to NULL, `argv`, and what stands behind it. */
#define ARGUMENTS(first)                                                     \
    va_list list, again;                                                     \
    va_start(list, first);                                                   \
    va_copy(again, list);                                                    \
    size_t count = 1;                                                        \
    if (!first) count = 0;                                                   \
    while (count && va_arg(again, char *)) count++;                          \
    va_end(again);                                                           \
    char *argv[count + 1];                                                   \
    argv[0] = (char *)first;                                                 \
    for (size_t i = 1; i <= count; i++) argv[i] = va_arg(list, char *)

int execl(const char *path, const char *first, ...) {
    ARGUMENTS(first);
    va_end(list);
    return execve(path, argv, environ);
}
int execlp(const char *file, const char *first, ...) {
    ARGUMENTS(first);
    va_end(list);
    return execvpe(file, argv, environ);
}
int execle(const char *path, const char *first, ...) {
    ARGUMENTS(first);
    char **envp = va_arg(list, char **);
    va_end(list);
    return execve(path, argv, envp);
}

typedef int spawner(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                    char *const *, char *const *);
int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    spawner *real = next("posix_spawn");
    if (kept.parent) return real(pid, path, actions, attributes, argv, envp); /* children are left out */
    EDITED(env, envp);
    return real(pid, path, actions, attributes, argv, env);
}
int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    spawner *real = next("posix_spawnp");
    if (kept.parent) return real(pid, file, actions, attributes, argv, envp);
    EDITED(env, envp);
    return real(pid, file, actions, attributes, argv, env);
}
