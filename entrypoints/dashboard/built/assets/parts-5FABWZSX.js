//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-XXUOLHSQ.js";import"./chunk-TDLZQYSY.js";export{a as Activity,b as Invitations,c as NewProject};
