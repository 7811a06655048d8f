/* Lets Wine's server rename folders of an image; scripts/wine-programs says how it is compiled.
 *
 * The image's layers are one overlay, whose kernel refuses to rename a directory that a lower layer has,
 * as one on another disk. mv copies then, but Windows moves no folder to another disk, so that Wine's
 * `move` and `ren` would fail. This stands before the C library's `rename`, and moves such a directory
 * entry by entry. Without the C library's headers and symbols, it goes with any version of it.
 */
#include <asm/unistd.h>
#include <asm/stat.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#define ATTRIBUTES "user.DOSATTRIB"
#define MAX_ATTRIBUTES 32

struct entry {
    unsigned long inode, offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

extern int *__errno_location(void);

static long call(long number, long a, long b, long c, long d, long e)
{
    register long fourth __asm__("r10") = d;
    register long fifth __asm__("r8") = e;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
                     : "rcx", "r11", "memory");
    return result;
}

static long move(long from, const char *old, long to, const char *new);

static int is_own(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Move what is in one open directory to another; positive if there was something. */
static long move_entries(long from, long to)
{
    char buffer[2048];
    long size, at, result, moved = 0;
    while ((size = call(__NR_getdents64, from, (long)buffer, sizeof(buffer), 0, 0)) > 0)
        for (at = 0; at < size; at += ((struct entry *)(buffer + at))->size) {
            const char *name = ((struct entry *)(buffer + at))->name;
            if (is_own(name))
                continue;
            if ((result = move(from, name, to, name)) < 0)
                return result;
            moved = 1;
        }
    return size < 0 ? size : moved;
}

static long move_all(long from, long to)
{
    long result;
    do
        call(__NR_lseek, from, 0, 0, 0, 0);
    while ((result = move_entries(from, to)) > 0);
    return result;
}

static void copy_metadata(long from, long to, const struct stat *status)
{
    char text[MAX_ATTRIBUTES];
    const struct { long seconds, nanoseconds; } times[2] = {
        {(long)status->st_atime, (long)status->st_atime_nsec},
        {(long)status->st_mtime, (long)status->st_mtime_nsec},
    };
    long size = call(__NR_fgetxattr, from, (long)ATTRIBUTES, (long)text, sizeof(text), 0);
    if (size > 0)
        call(__NR_fsetxattr, to, (long)ATTRIBUTES, (long)text, size, 0);
    call(__NR_fchmod, to, status->st_mode & 07777, 0, 0, 0);
    call(__NR_utimensat, to, 0, (long)times, 0, 0);
}

static long move_directory(long from, const char *old, long to, const char *new)
{
    struct stat before, after;
    long source, target, result;
    const long flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if ((source = call(__NR_openat, from, (long)old, flags, 0, 0)) < 0)
        return -EXDEV; /* no directory */
    result = call(__NR_unlinkat, to, (long)new, AT_REMOVEDIR, 0, 0);
    if (result == 0 || result == -ENOENT)
        result = call(__NR_mkdirat, to, (long)new, 0700, 0, 0);
    if (result == 0) {
        target = result = call(__NR_openat, to, (long)new, flags, 0, 0);
        if (target >= 0) {
            call(__NR_fstat, source, (long)&before, 0, 0, 0);
            call(__NR_fstat, target, (long)&after, 0, 0, 0);
            /* It may indeed be another disk: a mount of the step. */
            result = before.st_dev == after.st_dev ? move_all(source, target) : -EXDEV;
            if (result == 0)
                copy_metadata(source, target, &before);
            else
                move_all(target, source);
            call(__NR_close, target, 0, 0, 0, 0);
        }
        if (result == 0)
            result = call(__NR_unlinkat, from, (long)old, AT_REMOVEDIR, 0, 0);
        else
            call(__NR_unlinkat, to, (long)new, AT_REMOVEDIR, 0, 0);
    }
    call(__NR_close, source, 0, 0, 0, 0);
    return result;
}

static long move(long from, const char *old, long to, const char *new)
{
    long result = call(__NR_renameat, from, (long)old, to, (long)new, 0);
    return result == -EXDEV ? move_directory(from, old, to, new) : result;
}

__attribute__((visibility("default"))) int rename(const char *old, const char *new)
{
    long result = move(AT_FDCWD, old, AT_FDCWD, new);
    if (result < 0) {
        *__errno_location() = (int)-result;
        return -1;
    }
    return 0;
}
