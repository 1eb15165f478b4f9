/* A disk that fails and remembers, preloaded into a process of the tests (LD_PRELOAD).
 *
 * Only files whose path contains DISK_FILES are touched. The first letter in the file DISK_MODE says
 * what happens: n nothing, f no space is left, e writes fail with EIO, s syncs fail with EIO.
 * DISK_RECORD names a file that gets every write, truncation, removal and sync of them, and what the
 * process writes to its standard output, in their order:
 *   kind (w t u s o), path length (u32), path, offset (u64), data length (u64), data
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t raw_write(int fd, const void *data, size_t length) {
    return syscall(SYS_write, fd, data, length);
}

static void put(int fd, const void *data, size_t length) {
    const char *at = data;
    while (length > 0) {
        ssize_t written = raw_write(fd, at, length);
        if (written <= 0) abort();
        at += written;
        length -= (size_t)written;
    }
}

/* Whether the file is one of those; then its path. */
static int path_of(int fd, char *path, size_t room) {
    const char *files = getenv("DISK_FILES");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, room - 1);
    if (files == NULL || length < 0) return 0;
    path[length] = 0;
    return strstr(path, files) != NULL && strstr(path, "-shm") == NULL;
}

static char mode(void) {
    const char *name = getenv("DISK_MODE");
    if (name == NULL) return 'n';
    int fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_RDONLY);
    char letter = 'n';
    if (fd >= 0) {
        if (syscall(SYS_read, fd, &letter, 1) != 1) letter = 'n';
        syscall(SYS_close, fd);
    }
    return letter;
}

static void record(char kind, const char *path, uint64_t offset, const void *data, uint64_t length) {
    static int out = -2;
    if (out == -2) {
        const char *name = getenv("DISK_RECORD");
        out = name == NULL ? -1
                           : (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND, 0644);
    }
    if (out < 0) return;
    uint32_t named = (uint32_t)strlen(path);
    put(out, &kind, 1);
    put(out, &named, sizeof named);
    put(out, path, named);
    put(out, &offset, sizeof offset);
    put(out, &length, sizeof length);
    if (data != NULL) put(out, data, length);
}

/* A write at an offset, or where the file is. */
static ssize_t any_write(int fd, const void *data, size_t length, int here, off_t offset) {
    char path[4096];
    if (fd == 1) {
        pthread_mutex_lock(&lock);
        record('o', "", 0, data, length);
        pthread_mutex_unlock(&lock);
    } else if (path_of(fd, path, sizeof path)) {
        char how = mode();
        if (how == 'f' || how == 'e') {
            errno = how == 'f' ? ENOSPC : EIO;
            return -1;
        }
        pthread_mutex_lock(&lock);
        if (here) offset = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
        record('w', path, (uint64_t)offset, data, length);
        ssize_t written = here ? raw_write(fd, data, length)
                               : (ssize_t)syscall(SYS_pwrite64, fd, data, length, offset);
        if (written >= 0 && (size_t)written != length) abort();
        pthread_mutex_unlock(&lock);
        return written;
    }
    return here ? raw_write(fd, data, length)
                : (ssize_t)syscall(SYS_pwrite64, fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length) { return any_write(fd, data, length, 1, 0); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return any_write(fd, data, length, 0, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    return any_write(fd, data, length, 0, offset);
}

static int any_truncate(int fd, off_t length) {
    char path[4096];
    if (path_of(fd, path, sizeof path)) {
        pthread_mutex_lock(&lock);
        record('t', path, (uint64_t)length, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length) { return any_truncate(fd, length); }
int ftruncate64(int fd, off64_t length) { return any_truncate(fd, length); }

static int any_sync(int fd, long number) {
    char path[4096];
    int known = path_of(fd, path, sizeof path);
    if (known && mode() == 's') {
        errno = EIO;
        return -1;
    }
    int result = (int)syscall(number, fd);
    if (known) {
        pthread_mutex_lock(&lock);
        record('s', path, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int fsync(int fd) { return any_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return any_sync(fd, SYS_fdatasync); }

int unlink(const char *path) {
    const char *files = getenv("DISK_FILES");
    if (files != NULL && strstr(path, files) != NULL && strstr(path, "-shm") == NULL) {
        pthread_mutex_lock(&lock);
        record('u', path, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
