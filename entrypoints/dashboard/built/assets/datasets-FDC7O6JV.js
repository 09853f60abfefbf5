import{b as t,e as o}from"./chunk-JEM64TAC.js";import"./chunk-L7H5YR3U.js";import"./chunk-6T5CQSHM.js";import"./chunk-SDEB4LRC.js";export{t as Dataset,o as Datasets};
