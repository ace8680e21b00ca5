/* A library for LD_PRELOAD that records what a node does to its store and says to others, in one order.
 *
 * Guarantees: every write and sync of the store's file, and every send and receive on a socket, is one record in the
 * file IOLOG_FILE: begin and end by CLOCK_MONOTONIC (one order for all processes of a machine), result and bytes. On
 * demand one call fails: a file at IOLOG_FAULT, holding "write ERRNO" or "sync ERRNO", is taken away by the next such
 * call on the store, which fails with that errno and does nothing.
 * Leaves to others: what the records mean (iolog.py). For Linux with 64 bits: calls go to the kernel directly.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define STORE_NAME "/data.mdb"

enum call { WRITE = 1, SYNC = 2, SEND = 3, RECEIVE = 4 };
enum kind { OTHER, STORE, SOCKET };

struct __attribute__((packed)) record {
    uint64_t begin_ns, end_ns, inode;
    int64_t offset, result;
    uint32_t call, is_dsync, length;
};

struct target {
    enum kind kind;
    uint64_t inode;
};

static int log_fd = -1;
static const char *fault_path;

__attribute__((constructor)) static void open_log(void) {
    const char *path = getenv("IOLOG_FILE");
    fault_path = getenv("IOLOG_FAULT");
    if (path != NULL)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct target target_of(int fd) {
    struct target target = {OTHER, 0};
    struct stat status;
    if (log_fd < 0 || fstat(fd, &status) != 0)
        return target;
    target.inode = status.st_ino;
    if (S_ISSOCK(status.st_mode)) {
        target.kind = SOCKET;
    } else if (S_ISREG(status.st_mode)) {
        char link[64], name[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, name, sizeof name);
        size_t suffix = strlen(STORE_NAME);
        if (length > (ssize_t)suffix && memcmp(name + length - suffix, STORE_NAME, suffix) == 0)
            target.kind = STORE;
    }
    return target;
}

/* One record in one append, so that threads need no lock. `begin_ns` was taken before the call, the end is now. */
static void record(enum call call, int fd, struct target target, uint64_t begin_ns, int64_t offset, ssize_t result,
                   const struct iovec *parts, int count) {
    int error = errno;
    size_t length = result > 0 && parts != NULL ? (size_t)result : 0;
    struct record head = {begin_ns, now_ns(), target.inode, offset, result < 0 ? -error : result, call, 0, 0};
    head.is_dsync = call == WRITE && (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    head.length = (uint32_t)length;
    char *bytes = malloc(sizeof head + length);
    if (bytes == NULL)
        abort();
    memcpy(bytes, &head, sizeof head);
    size_t filled = 0;
    for (int i = 0; i < count && filled < length; i++) {
        size_t part = parts[i].iov_len < length - filled ? parts[i].iov_len : length - filled;
        memcpy(bytes + sizeof head + filled, parts[i].iov_base, part);
        filled += part;
    }
    if (syscall(SYS_write, log_fd, bytes, sizeof head + length) != (ssize_t)(sizeof head + length))
        abort();
    free(bytes);
    errno = error;
}

static int planned_fault(const char *call) {
    char text[64] = "", name[16] = "";
    int number = 0;
    if (fault_path == NULL)
        return 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, fault_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = syscall(SYS_read, fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0 || sscanf(text, "%15s %d", name, &number) != 2 || strcmp(name, call) != 0)
        return 0;
    return unlink(fault_path) == 0 ? number : 0;
}

static ssize_t store_write(int fd, struct target target, const struct iovec *parts, int count, off_t offset) {
    uint64_t begin_ns = now_ns();
    int fault = planned_fault("write");
    ssize_t result;
    if (fault != 0) {
        errno = fault;
        result = -1;
    } else {
        result = syscall(SYS_pwritev, fd, parts, count, (unsigned long)offset, 0UL);
    }
    record(WRITE, fd, target, begin_ns, offset, result, parts, count);
    return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    struct target target = target_of(fd);
    struct iovec part = {(void *)bytes, length};
    if (target.kind != STORE)
        return syscall(SYS_pwrite64, fd, bytes, length, offset);
    return store_write(fd, target, &part, 1, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite(fd, bytes, length, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    struct target target = target_of(fd);
    if (target.kind != STORE)
        return syscall(SYS_pwritev, fd, parts, count, (unsigned long)offset, 0UL);
    return store_write(fd, target, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev(fd, parts, count, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct target target = target_of(fd);
    if (target.kind == STORE) {
        off_t offset = lseek(fd, 0, SEEK_CUR);
        ssize_t written = store_write(fd, target, parts, count, offset);
        if (written > 0)
            lseek(fd, offset + written, SEEK_SET);
        return written;
    }
    uint64_t begin_ns = now_ns();
    ssize_t result = syscall(SYS_writev, fd, parts, count);
    if (target.kind == SOCKET)
        record(SEND, fd, target, begin_ns, 0, result, parts, count);
    return result;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    struct iovec part = {(void *)bytes, length};
    struct target target = target_of(fd);
    return target.kind == OTHER ? syscall(SYS_write, fd, bytes, length) : writev(fd, &part, 1);
}

ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *to, socklen_t to_length) {
    struct target target = target_of(fd);
    struct iovec part = {(void *)bytes, length};
    uint64_t begin_ns = now_ns();
    ssize_t result = syscall(SYS_sendto, fd, bytes, length, flags, to, to_length);
    if (target.kind == SOCKET)
        record(SEND, fd, target, begin_ns, 0, result, &part, 1);
    return result;
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    return sendto(fd, bytes, length, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    struct target target = target_of(fd);
    uint64_t begin_ns = now_ns();
    ssize_t result = syscall(SYS_sendmsg, fd, message, flags);
    if (target.kind == SOCKET)
        record(SEND, fd, target, begin_ns, 0, result, message->msg_iov, (int)message->msg_iovlen);
    return result;
}

ssize_t read(int fd, void *bytes, size_t length) {
    struct target target = target_of(fd);
    struct iovec part = {bytes, length};
    uint64_t begin_ns = now_ns();
    ssize_t result = syscall(SYS_read, fd, bytes, length);
    if (target.kind == SOCKET)
        record(RECEIVE, fd, target, begin_ns, 0, result, &part, 1);
    return result;
}

ssize_t recvfrom(int fd, void *restrict bytes, size_t length, int flags, struct sockaddr *restrict from,
                 socklen_t *restrict from_length) {
    struct target target = target_of(fd);
    struct iovec part = {bytes, length};
    uint64_t begin_ns = now_ns();
    ssize_t result = syscall(SYS_recvfrom, fd, bytes, length, flags, from, from_length);
    if (target.kind == SOCKET)
        record(RECEIVE, fd, target, begin_ns, 0, result, &part, 1);
    return result;
}

ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    return recvfrom(fd, bytes, length, flags, NULL, NULL);
}

static int synced(int fd, long number) {
    struct target target = target_of(fd);
    if (target.kind != STORE)
        return (int)syscall(number, fd);
    uint64_t begin_ns = now_ns();
    int fault = planned_fault("sync");
    int result;
    if (fault != 0) {
        errno = fault;
        result = -1;
    } else {
        result = (int)syscall(number, fd);
    }
    record(SYNC, fd, target, begin_ns, 0, result, NULL, 0);
    return result;
}

int fdatasync(int fd) {
    return synced(fd, SYS_fdatasync);
}

int fsync(int fd) {
    return synced(fd, SYS_fsync);
}

/* A store that writes through its memory map would escape this log: its msync stands there as a sync of no file. */
int msync(void *address, size_t length, int flags) {
    struct target nothing = {STORE, 0};
    uint64_t begin_ns = now_ns();
    int result = (int)syscall(SYS_msync, address, length, flags);
    if (log_fd >= 0)
        record(SYNC, -1, nothing, begin_ns, 0, result, NULL, 0);
    return result;
}
