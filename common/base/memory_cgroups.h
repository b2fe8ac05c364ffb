// Where the files are that say how much memory a process's control groups may use: of version 2,
// of version 1, or of both at once. Pure: texts in, paths out (memory_limit.h reads them).
#ifndef ISTHMUS_COMMON_BASE_MEMORY_CGROUPS_H_
#define ISTHMUS_COMMON_BASE_MEMORY_CGROUPS_H_

#include <string>
#include <vector>

namespace isthmus {

// A process's memory cgroup and those around it, as folders.
struct CgroupFolders {
  bool unified = false;              // version 2, whose files have other names
  std::vector<std::string> folders;  // innermost first, up to the outermost that is visible
  std::string mount;                 // what of a folder's path is not the cgroup's name
};

// `cgroup` and `mountinfo` as in /proc/self; whatever is not understood is passed over. A mount
// shows a part of the hierarchy in a container: what lies above is out of sight.
std::vector<CgroupFolders> FindMemoryCgroups(const std::string& cgroup,
                                             const std::string& mountinfo);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_MEMORY_CGROUPS_H_
