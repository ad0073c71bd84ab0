/* Counts the calls that change files, from the moment that the file CRASH_BEGIN is opened until
   CRASH_END is, and ends the process before call number CRASH_BEFORE, or after half of the bytes
   of write number CRASH_WITHIN. Names of the calls go to CRASH_TRACE, one a line.

   One call at a time: when it ends, all calls before are done and none after has begun. Only files
   and folders count, not pipes and sockets. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define KILLED 137
#define REAL(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static volatile int armed;
static int calls, writes, before, within, trace = -1;

static int number(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

static int is(const char *path, const char *name) {
    const char *text = getenv(name);
    return text && strcmp(path, text) == 0;
}

/* The marks by which the test says where its procedure begins and ends. */
static void look_for_marks(const char *path) {
    pthread_mutex_lock(&one_at_a_time);
    if (!armed && is(path, "CRASH_BEGIN")) {
        before = number("CRASH_BEFORE");
        within = number("CRASH_WITHIN");
        trace = syscall(SYS_openat, AT_FDCWD, getenv("CRASH_TRACE"), O_CREAT | O_WRONLY | O_APPEND, 0600);
        armed = 1;
    } else if (armed && is(path, "CRASH_END")) {
        armed = 0;
    }
    pthread_mutex_unlock(&one_at_a_time);
}

/* True when the call counts: then the lock is held until `leave`. Sets `half` when half of it is
   to be done. */
static int enter(const char *name, int *half) {
    char line[32];
    if (!armed) return 0;
    pthread_mutex_lock(&one_at_a_time);
    if (!armed) { pthread_mutex_unlock(&one_at_a_time); return 0; }
    calls += 1;
    syscall(SYS_write, trace, line, snprintf(line, sizeof line, "%s\n", name));
    if (calls == before) _exit(KILLED);
    if (strcmp(name, "write") == 0) *half = ++writes == within;
    return 1;
}

static void leave(int counts) { if (counts) pthread_mutex_unlock(&one_at_a_time); }

static int is_file(int fd) {
    struct stat stat;
    return armed && fstat(fd, &stat) == 0 && (S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode));
}

#define COUNTED(counts, name, call) \
    int half = 0, counted = (counts) && enter(name, &half); \
    __typeof__(call) result = call; \
    leave(counted); \
    return result

ssize_t write(int fd, const void *bytes, size_t count) {
    int half = 0, counted = is_file(fd) && enter("write", &half);
    ssize_t result = REAL(write, fd, bytes, half ? count / 2 : count);
    if (half) _exit(KILLED);
    leave(counted);
    return result;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    int half = 0, counted = is_file(fd) && enter("write", &half);
    ssize_t result = REAL(pwrite64, fd, bytes, half ? count / 2 : count, at);
    if (half) _exit(KILLED);
    leave(counted);
    return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

/* The first half of the bytes of several buffers, and the end of the process. */
static void half_of(int fd, const struct iovec *parts, int count, off64_t at) {
    size_t left = 0;
    for (int n = 0; n < count; n++) left += parts[n].iov_len;
    left /= 2;
    for (int n = 0; n < count && left > 0; n++) {
        size_t bytes = parts[n].iov_len < left ? parts[n].iov_len : left;
        if (at < 0) REAL(write, fd, parts[n].iov_base, bytes);
        else { REAL(pwrite64, fd, parts[n].iov_base, bytes, at); at += bytes; }
        left -= bytes;
    }
    _exit(KILLED);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    int half = 0, counted = is_file(fd) && enter("write", &half);
    if (half) half_of(fd, parts, count, -1);
    ssize_t result = REAL(writev, fd, parts, count);
    leave(counted);
    return result;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    int half = 0, counted = is_file(fd) && enter("write", &half);
    if (half) half_of(fd, parts, count, at);
    ssize_t result = REAL(pwritev64, fd, parts, count, at);
    leave(counted);
    return result;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return pwritev64(fd, parts, count, at); }

int fsync(int fd) { COUNTED(is_file(fd), "fsync", REAL(fsync, fd)); }
int fdatasync(int fd) { COUNTED(is_file(fd), "fdatasync", REAL(fdatasync, fd)); }
int ftruncate64(int fd, off64_t length) { COUNTED(is_file(fd), "ftruncate", REAL(ftruncate64, fd, length)); }
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
int fallocate64(int fd, int mode, off64_t at, off64_t length) { COUNTED(is_file(fd), "fallocate", REAL(fallocate64, fd, mode, at, length)); }
int fallocate(int fd, int mode, off_t at, off_t length) { return fallocate64(fd, mode, at, length); }
int sync_file_range(int fd, off64_t at, off64_t length, unsigned flags) { COUNTED(is_file(fd), "sync_file_range", REAL(sync_file_range, fd, at, length, flags)); }
int msync(void *at, size_t length, int flags) { COUNTED(armed, "msync", REAL(msync, at, length, flags)); }
int rename(const char *from, const char *to) { COUNTED(armed, "rename", REAL(rename, from, to)); }
int renameat(int a, const char *from, int b, const char *to) { COUNTED(armed, "rename", REAL(renameat, a, from, b, to)); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { COUNTED(armed, "rename", REAL(renameat2, a, from, b, to, flags)); }
int unlink(const char *path) { COUNTED(armed, "unlink", REAL(unlink, path)); }
int unlinkat(int dir, const char *path, int flags) { COUNTED(armed, "unlink", REAL(unlinkat, dir, path, flags)); }
int rmdir(const char *path) { COUNTED(armed, "rmdir", REAL(rmdir, path)); }
int mkdir(const char *path, mode_t mode) { COUNTED(armed, "mkdir", REAL(mkdir, path, mode)); }
int mkdirat(int dir, const char *path, mode_t mode) { COUNTED(armed, "mkdir", REAL(mkdirat, dir, path, mode)); }

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); }

int open64(const char *path, int flags, ...) {
    MODE(flags);
    look_for_marks(path);
    COUNTED(armed && (flags & (O_CREAT | O_TRUNC)), "open", REAL(open64, path, flags, mode));
}

int open(const char *path, int flags, ...) { MODE(flags); return open64(path, flags, mode); }

int openat64(int dir, const char *path, int flags, ...) {
    MODE(flags);
    COUNTED(armed && (flags & (O_CREAT | O_TRUNC)), "open", REAL(openat64, dir, path, flags, mode));
}

int openat(int dir, const char *path, int flags, ...) { MODE(flags); return openat64(dir, path, flags, mode); }
