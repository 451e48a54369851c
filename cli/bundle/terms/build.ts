/** The terms of a build: the function that is read, the files that come of it, and the builder between them. */
import type { Manifest } from '#contract/functions/manifest.ts';
import type { Frame } from './frames.ts';

/** The function of a folder. */
export interface Project {
  /** Absolute path of the folder. */
  readonly directory: string;
  readonly manifest: Manifest;
  /** Absolute path of the module that is bundled. */
  readonly entry: string;
}

/** A function that can be packed. */
export interface Build {
  /** Path in the archive → contents. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Path in the archive → absolute path of a file that is packed as it is, besides those of packages. */
  readonly copies: ReadonlyMap<string, string>;
  /** Path in the archive of the module that the runtime loads. */
  readonly entryFile: string;
  /** Absolute paths of all sources, keyed by the path under which an error in the sandbox names them. `dev` watches them. */
  readonly sources: ReadonlyMap<string, string>;
  /** Warnings for the developer, each as lines: place and text, then an excerpt. */
  readonly warnings: readonly (readonly string[])[];
  /** Packages whose files are copied into the archive as they are. */
  readonly packages: readonly BuiltPackage[];
}

export interface BuiltPackage {
  readonly name: string;
  readonly version: string;
  /** Folder in the archive, and absolute path of the folder on this machine. */
  readonly to: string;
  readonly directory: string;
  /** False for a package that is there only because another needs it. */
  readonly isImported: boolean;
  /** Paths of its files, relative to its folder. */
  readonly files: () => readonly string[];
}

/** Builds one function, again after each change. */
export interface Builder {
  /** Throws a CliError with file, line and excerpt of each error. */
  run(): Promise<Build>;
  /** Ends what a builder keeps for its next run, such as a child process. */
  dispose(): Promise<void>;
}

export interface BuilderKind {
  /** Throws a CliError when dependencies of the function are not there: the build would report each of their imports. */
  readonly requireReady: (directory: string) => void;
  readonly open: (project: Project) => Promise<Builder>;
  /** The frames of an error's stack that lie in known sources, the innermost first. */
  readonly framesOf: (stack: string, sources: ReadonlyMap<string, string>) => Frame[];
}
