// Counts what a process changes, or what it reads, in the files below a folder, and spoils the n-th such operation. Loaded by
// LD_PRELOAD, on 64-bit Linux; built by `preload.rs`, which also says which environment variables mean what.
// Not here: which operation is spoilt how, and what has to hold afterwards (the Rust files beside this one).
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 2 * PATH_MAX, BACK_S = 3600 };
enum action { COUNT, KILL_BEFORE, KILL_AFTER, STOP, FAIL, FILL, SHORT };

static const char *below;
static size_t below_length;
static int log_fd = -1;
static long spoilt;
static enum action action;
static int error_number;
static int counts_reads; // instead of changes
static int clock_goes_back;
static atomic_long n_operations, n_clock_calls;
// Set once the disk is full: from then on nothing can be written below the folder.
static atomic_int is_full;
static _Thread_local int dies_afterwards;

__attribute__((constructor)) static void read_environment(void) {
  static const struct {
    const char *name;
    enum action action;
    int error_number;
  } actions[] = {
      {"kill-before", KILL_BEFORE, 0}, {"kill-after", KILL_AFTER, 0}, {"stop", STOP, 0},   {"ENOSPC", FAIL, ENOSPC},
      {"EIO", FAIL, EIO},              {"EDQUOT", FAIL, EDQUOT},      {"full", FILL, ENOSPC}, {"short", SHORT, ENOSPC},
  };
  below = getenv("OTHINK_FAULTS_BELOW");
  below_length = below ? strlen(below) : 0;
  const char *log = getenv("OTHINK_FAULTS_LOG"), *at = getenv("OTHINK_FAULTS_AT"), *what = getenv("OTHINK_FAULTS_DO");
  if (log) log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  spoilt = at ? atol(at) : 0;
  for (size_t i = 0; what && i < sizeof actions / sizeof *actions; i++) {
    if (strcmp(what, actions[i].name) == 0) action = actions[i].action, error_number = actions[i].error_number;
  }
  const char *of = getenv("OTHINK_FAULTS_OF");
  counts_reads = of && strcmp(of, "reads") == 0;
  clock_goes_back = getenv("OTHINK_FAULTS_CLOCK") != NULL;
}

static int is_below(const char *path) {
  if (!below_length || strncmp(path, below, below_length) != 0) return 0;
  return path[below_length] == '\0' || path[below_length] == '/';
}

// The path that an open file or folder was opened under, or has been moved to since; empty where it has none.
static const char *path_of(int fd, char *room) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, room, ROOM - 1);
  room[length > 0 ? length : 0] = '\0';
  return room;
}

static const char *absolute(int folder, const char *path, char *room) {
  if (path[0] == '/') return path;
  if (folder != AT_FDCWD) path_of(folder, room);
  else if (!getcwd(room, ROOM)) room[0] = '\0';
  size_t length = strlen(room);
  snprintf(room + length, ROOM - length, "/%s", path);
  return room;
}

static void note(long n, const char *operation, const char *path, const char *to) {
  char line[2 * ROOM + 64];
  int length = snprintf(line, sizeof line, "%ld\t%s\t%s\t%s\n", n, operation, path, to);
  if (log_fd >= 0 && syscall(SYS_write, log_fd, line, (size_t)length) < 0) abort();
}

_Noreturn static void die(void) {
  syscall(SYS_kill, getpid(), SIGKILL);
  for (;;) pause();
}

// What becomes of an operation.
enum fate { GOES_ON, FAILS, HALF };

// To be called before an operation; `to` is where a rename or a link leads, else empty.
static enum fate begin_either(int is_read, const char *operation, const char *path, const char *to) {
  if (is_read != counts_reads || (!is_below(path) && !is_below(to))) return GOES_ON;
  long n = atomic_fetch_add(&n_operations, 1) + 1;
  note(n, operation, path, to);
  int writes = strstr("write mkdir link symlink", operation) != NULL;
  if (atomic_load(&is_full) && writes) return errno = ENOSPC, FAILS;
  if (n != spoilt) return GOES_ON;
  switch (action) {
    case COUNT: return GOES_ON;
    case KILL_BEFORE: die();
    case KILL_AFTER: dies_afterwards = 1; return GOES_ON;
    case STOP: raise(SIGSTOP); return GOES_ON; // to this thread: one sent to the process may stop another one first
    case FAIL: errno = error_number; return FAILS;
    case FILL: atomic_store(&is_full, 1); errno = error_number; return writes ? FAILS : GOES_ON;
    case SHORT: atomic_store(&is_full, 1); return strcmp(operation, "write") == 0 ? HALF : GOES_ON;
  }
  return GOES_ON;
}

static enum fate begin(const char *operation, const char *path, const char *to) {
  return begin_either(0, operation, path, to);
}

static long end(long result) {
  if (dies_afterwards) die();
  return result;
}

static enum fate begin_at(const char *operation, int folder, const char *path) {
  char room[ROOM];
  return begin(operation, absolute(folder, path, room), "");
}

static enum fate begin_fd(const char *operation, int fd) {
  char room[ROOM];
  return begin(operation, path_of(fd, room), "");
}

static enum fate begin_two(const char *operation, int from_folder, const char *from, int to_folder, const char *to) {
  char from_room[ROOM], to_room[ROOM];
  return begin(operation, absolute(from_folder, from, from_room), absolute(to_folder, to, to_room));
}

static enum fate begin_read_at(const char *operation, int folder, const char *path) {
  char room[ROOM];
  return begin_either(1, operation, absolute(folder, path, room), "");
}

static enum fate begin_read_fd(const char *operation, int fd) {
  char room[ROOM];
  return begin_either(1, operation, path_of(fd, room), "");
}

static int open_at(int folder, const char *path, int flags, mode_t mode) {
  int writes = (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0;
  if ((writes ? begin_at : begin_read_at)("open", folder, path) == FAILS) return -1;
  return (int)end(syscall(SYS_openat, folder, path, flags, mode));
}

#define MODE(flags) \
  mode_t mode = 0; \
  if ((flags) & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
    va_list more; \
    va_start(more, flags); \
    mode = va_arg(more, mode_t); \
    va_end(more); \
  }

int open(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return open_at(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return open_at(folder, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

static size_t allowed(enum fate fate, size_t n) { return fate == HALF && n > 1 ? n / 2 : n; }

ssize_t write(int fd, const void *bytes, size_t n) {
  enum fate fate = begin_fd("write", fd);
  return fate == FAILS ? -1 : end(syscall(SYS_write, fd, bytes, allowed(fate, n)));
}
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset) {
  enum fate fate = begin_fd("write", fd);
  return fate == FAILS ? -1 : end(syscall(SYS_pwrite64, fd, bytes, allowed(fate, n), offset));
}
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t offset) { return pwrite(fd, bytes, n, offset); }
ssize_t writev(int fd, const struct iovec *pieces, int n) {
  enum fate fate = begin_fd("write", fd);
  if (fate == HALF && n > 0) return syscall(SYS_write, fd, pieces[0].iov_base, allowed(fate, pieces[0].iov_len));
  return fate == FAILS ? -1 : end(syscall(SYS_writev, fd, pieces, n));
}
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags) {
  enum fate fate = begin_fd("write", to);
  return fate == FAILS ? -1 : end(syscall(SYS_copy_file_range, from, from_at, to, to_at, allowed(fate, n), flags));
}
ssize_t sendfile(int to, int from, off_t *from_at, size_t n) {
  enum fate fate = begin_fd("write", to);
  return fate == FAILS ? -1 : end(syscall(SYS_sendfile, to, from, from_at, allowed(fate, n)));
}
ssize_t sendfile64(int to, int from, off64_t *from_at, size_t n) { return sendfile(to, from, from_at, n); }

int fsync(int fd) { return begin_fd("fsync", fd) == FAILS ? -1 : (int)end(syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { return begin_fd("fsync", fd) == FAILS ? -1 : (int)end(syscall(SYS_fdatasync, fd)); }
int ftruncate(int fd, off_t n) { return begin_fd("truncate", fd) == FAILS ? -1 : (int)end(syscall(SYS_ftruncate, fd, n)); }
int ftruncate64(int fd, off64_t n) { return ftruncate(fd, n); }
int truncate(const char *path, off_t n) {
  return begin_at("truncate", AT_FDCWD, path) == FAILS ? -1 : (int)end(syscall(SYS_truncate, path, n));
}
int truncate64(const char *path, off64_t n) { return truncate(path, n); }

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
  if (begin_two("rename", from_folder, from, to_folder, to) == FAILS) return -1;
  return (int)end(syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  return renameat2(from_folder, from, to_folder, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
  if (begin_two("link", from_folder, from, to_folder, to) == FAILS) return -1;
  return (int)end(syscall(SYS_linkat, from_folder, from, to_folder, to, flags));
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int symlinkat(const char *target, int folder, const char *path) {
  return begin_at("symlink", folder, path) == FAILS ? -1 : (int)end(syscall(SYS_symlinkat, target, folder, path));
}
int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

int mkdirat(int folder, const char *path, mode_t mode) {
  return begin_at("mkdir", folder, path) == FAILS ? -1 : (int)end(syscall(SYS_mkdirat, folder, path, mode));
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
int unlinkat(int folder, const char *path, int flags) {
  return begin_at("unlink", folder, path) == FAILS ? -1 : (int)end(syscall(SYS_unlinkat, folder, path, flags));
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

ssize_t read(int fd, void *bytes, size_t n) {
  return begin_read_fd("read", fd) == FAILS ? -1 : end(syscall(SYS_read, fd, bytes, n));
}
ssize_t pread(int fd, void *bytes, size_t n, off_t offset) {
  return begin_read_fd("read", fd) == FAILS ? -1 : end(syscall(SYS_pread64, fd, bytes, n, offset));
}
ssize_t pread64(int fd, void *bytes, size_t n, off64_t offset) { return pread(fd, bytes, n, offset); }
ssize_t readv(int fd, const struct iovec *pieces, int n) {
  return begin_read_fd("read", fd) == FAILS ? -1 : end(syscall(SYS_readv, fd, pieces, n));
}
// Declared here alone: the standard library tries it without a path, which the system's header forbids.
int statx(int folder, const char *path, int flags, unsigned mask, void *found) {
  if (!path) return (int)syscall(SYS_statx, folder, path, flags, mask, found);
  enum fate fate = path[0] ? begin_read_at("stat", folder, path) : begin_read_fd("stat", folder);
  return fate == FAILS ? -1 : (int)end(syscall(SYS_statx, folder, path, flags, mask, found));
}
void *mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset) {
  if (fd >= 0 && begin_read_fd("map", fd) == FAILS) return MAP_FAILED;
  return (void *)syscall(SYS_mmap, address, n, protection, flags, fd, offset);
}
void *mmap64(void *address, size_t n, int protection, int flags, int fd, off64_t offset) {
  return mmap(address, n, protection, flags, fd, offset);
}
DIR *opendir(const char *path) {
  DIR *(*next)(const char *) = (DIR * (*)(const char *)) dlsym(RTLD_NEXT, "opendir");
  return begin_read_at("list", AT_FDCWD, path) == FAILS ? NULL : next(path);
}
struct dirent64 *readdir64(DIR *folder) {
  struct dirent64 *(*next)(DIR *) = (struct dirent64 * (*)(DIR *)) dlsym(RTLD_NEXT, "readdir64");
  return begin_read_fd("list", dirfd(folder)) == FAILS ? NULL : next(folder);
}

// Each call answers with a time an hour before the one that the call before it was given.
static time_t gone_back(void) {
  return clock_goes_back ? (time_t)BACK_S * (time_t)(atomic_fetch_add(&n_clock_calls, 1) + 1) : 0;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  long result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec -= gone_back();
  return (int)result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  long result = syscall(SYS_gettimeofday, now, zone);
  if (result == 0) now->tv_sec -= gone_back();
  return (int)result;
}
time_t time(time_t *where) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (where) *where = now.tv_sec;
  return now.tv_sec;
}
